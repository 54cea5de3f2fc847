package protocol

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schema is the messages as the real decoder knows them, from a descriptor of
// the public grpc_service.proto. packed says how it writes repeated numbers;
// it reads both ways.
type schema struct {
	request, response, streamed protoreflect.MessageDescriptor
}

func newSchema(t testing.TB, packed bool) schema {
	t.Helper()
	file, err := protodesc.NewFile(descriptorOf(packed), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := file.Messages()
	return schema{m.ByName("ModelInferRequest"), m.ByName("ModelInferResponse"), m.ByName("ModelStreamInferResponse")}
}

// read decodes a message by the real decoder.
func (s schema) read(message []byte, request bool) (*dynamicpb.Message, error) {
	d := s.response
	if request {
		d = s.request
	}
	m := dynamicpb.NewMessage(d)
	return m, proto.Unmarshal(message, m)
}

const (
	kindBool   = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	kindInt32  = descriptorpb.FieldDescriptorProto_TYPE_INT32
	kindInt64  = descriptorpb.FieldDescriptorProto_TYPE_INT64
	kindUint32 = descriptorpb.FieldDescriptorProto_TYPE_UINT32
	kindUint64 = descriptorpb.FieldDescriptorProto_TYPE_UINT64
	kindFloat  = descriptorpb.FieldDescriptorProto_TYPE_FLOAT
	kindDouble = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	kindString = descriptorpb.FieldDescriptorProto_TYPE_STRING
	kindBytes  = descriptorpb.FieldDescriptorProto_TYPE_BYTES
)

func one(name string, num int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
	return &descriptorpb.FieldDescriptorProto{
		Name: &name, Number: &num, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
}

func oneOf(name string, num int32, message string) *descriptorpb.FieldDescriptorProto {
	f := one(name, num, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE)
	f.TypeName = proto.String(".inference." + message)
	return f
}

func many(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
	f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	return f
}

func message(name string, fields []*descriptorpb.FieldDescriptorProto, nested ...*descriptorpb.DescriptorProto) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: &name, Field: fields, NestedType: nested}
}

func entry() *descriptorpb.DescriptorProto {
	m := message("ParametersEntry", []*descriptorpb.FieldDescriptorProto{one("key", 1, kindString), oneOf("value", 2, "InferParameter")})
	m.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
	return m
}

func descriptorOf(packed bool) *descriptorpb.FileDescriptorProto {
	type fields = []*descriptorpb.FieldDescriptorProto
	list := func(name string, num int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		f := many(one(name, num, kind))
		if kind != kindBytes && kind != kindString {
			f.Options = &descriptorpb.FieldOptions{Packed: &packed}
		}
		return f
	}
	parameter := message("InferParameter", fields{
		one("bool_param", 1, kindBool), one("int64_param", 2, kindInt64), one("string_param", 3, kindString),
		one("double_param", 4, kindDouble), one("uint64_param", 5, kindUint64),
	})
	for _, f := range parameter.Field {
		f.OneofIndex = proto.Int32(0)
	}
	parameter.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("parameter_choice")}}

	contents := message("InferTensorContents", fields{
		list("bool_contents", 1, kindBool), list("int_contents", 2, kindInt32), list("int64_contents", 3, kindInt64),
		list("uint_contents", 4, kindUint32), list("uint64_contents", 5, kindUint64),
		list("fp32_contents", 6, kindFloat), list("fp64_contents", 7, kindDouble), list("bytes_contents", 8, kindBytes),
	})
	tensor := func(owner, name string) *descriptorpb.DescriptorProto {
		return message(name, fields{
			one("name", 1, kindString), one("datatype", 2, kindString), list("shape", 3, kindInt64),
			many(oneOf("parameters", 4, owner+"."+name+".ParametersEntry")), oneOf("contents", 5, "InferTensorContents"),
		}, entry())
	}
	begin := func(owner string) fields {
		return fields{
			one("model_name", 1, kindString), one("model_version", 2, kindString), one("id", 3, kindString),
			many(oneOf("parameters", 4, owner+".ParametersEntry")),
		}
	}
	const request, response = "ModelInferRequest", "ModelInferResponse"
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("grpc_service.proto"), Package: proto.String("inference"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			parameter, contents,
			message(request, append(begin(request),
				many(oneOf("inputs", 5, request+".InferInputTensor")),
				many(oneOf("outputs", 6, request+".InferRequestedOutputTensor")),
				many(one("raw_input_contents", 7, kindBytes)),
			), entry(), tensor(request, "InferInputTensor"), message("InferRequestedOutputTensor", fields{
				one("name", 1, kindString), many(oneOf("parameters", 2, request+".InferRequestedOutputTensor.ParametersEntry")),
			}, entry())),
			message(response, append(begin(response),
				many(oneOf("outputs", 5, response+".InferOutputTensor")),
				many(one("raw_output_contents", 6, kindBytes)),
			), entry(), tensor(response, "InferOutputTensor")),
			message("ModelStreamInferResponse", fields{one("error_message", 1, kindString), oneOf("infer_response", 2, response)}),
		},
	}
}
