package clients

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The part of the Open Inference Protocol's grpc_predict_v2.proto that the
// client needs, built without generated code: protobuf-go itself reads and
// writes the messages, as it would with generated code.
type (
	kind  = descriptorpb.FieldDescriptorProto_Type
	field = descriptorpb.FieldDescriptorProto
)

const (
	text    = descriptorpb.FieldDescriptorProto_TYPE_STRING
	raw     = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	boolean = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	int32s  = descriptorpb.FieldDescriptorProto_TYPE_INT32
	int64s  = descriptorpb.FieldDescriptorProto_TYPE_INT64
	uint32s = descriptorpb.FieldDescriptorProto_TYPE_UINT32
	uint64s = descriptorpb.FieldDescriptorProto_TYPE_UINT64
	float   = descriptorpb.FieldDescriptorProto_TYPE_FLOAT
	double  = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
)

func one(name string, number int32, k kind) *field {
	return &field{Name: &name, JsonName: &name, Number: &number, Type: &k, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
}

func many(name string, number int32, k kind) *field {
	f := one(name, number, k)
	f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	return f
}

// of makes a field hold a message.
func of(f *field, message string) *field {
	f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".inference."+message)
	return f
}

func message(name string, fields ...*field) *descriptorpb.DescriptorProto {
	return &descriptorpb.DescriptorProto{Name: &name, Field: fields}
}

// withParameters adds map<string, InferParameter> parameters.
func withParameters(number int32, m *descriptorpb.DescriptorProto) *descriptorpb.DescriptorProto {
	entry := message("ParametersEntry", one("key", 1, text), of(one("value", 2, 0), "InferParameter"))
	entry.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
	m.NestedType = append(m.NestedType, entry)
	m.Field = append(m.Field, of(many("parameters", number, 0), m.GetName()+".ParametersEntry"))
	return m
}

// schema holds the messages by name.
type schema struct{ file protoreflect.FileDescriptor }

func (s schema) message(name protoreflect.Name) protoreflect.MessageDescriptor {
	return s.file.Messages().ByName(name)
}

func newSchema() (schema, error) {
	tensor := func(name string) *descriptorpb.DescriptorProto {
		return withParameters(4, message(name, one("name", 1, text), one("datatype", 2, text), many("shape", 3, int64s),
			of(one("contents", 5, 0), "InferTensorContents")))
	}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("inference.proto"), Package: proto.String("inference"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("InferParameter", one("bool_param", 1, boolean), one("int64_param", 2, int64s), one("string_param", 3, text), one("double_param", 4, double)),
			message("InferTensorContents", many("bool_contents", 1, boolean), many("int_contents", 2, int32s), many("int64_contents", 3, int64s),
				many("uint_contents", 4, uint32s), many("uint64_contents", 5, uint64s), many("fp32_contents", 6, float),
				many("fp64_contents", 7, double), many("bytes_contents", 8, raw)),
			tensor("InferInputTensor"),
			tensor("InferOutputTensor"),
			withParameters(4, message("ModelInferRequest", one("model_name", 1, text), one("model_version", 2, text), one("id", 3, text),
				of(many("inputs", 5, 0), "InferInputTensor"), many("raw_input_contents", 7, raw))),
			withParameters(4, message("ModelInferResponse", one("model_name", 1, text), one("model_version", 2, text), one("id", 3, text),
				of(many("outputs", 5, 0), "InferOutputTensor"), many("raw_output_contents", 6, raw))),
			message("ModelStreamInferResponse", one("error_message", 1, text), of(one("infer_response", 2, 0), "ModelInferResponse")),
			message("ModelReadyRequest", one("name", 1, text)),
			message("ModelReadyResponse", one("ready", 1, boolean)),
		},
	}
	built, err := protodesc.NewFile(file, nil)
	return schema{file: built}, err
}
