package admin

import (
	"net/http"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fieldsOf are the fields of a request that are set, by their names in JSON.
func fieldsOf(m protoreflect.Message) map[string]any {
	out := map[string]any{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !f.IsList() {
			out[f.JSONName()] = valueOf(f, v)
			return true
		}
		list := make([]any, v.List().Len())
		for i := range list {
			list[i] = valueOf(f, v.List().Get(i))
		}
		out[f.JSONName()] = list
		return true
	})
	return out
}

func valueOf(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	if f.Message() == nil {
		return v.Interface()
	}
	if at, ok := v.Message().Interface().(*timestamppb.Timestamp); ok {
		return at.AsTime().Format(time.RFC3339Nano)
	}
	return fieldsOf(v.Message())
}

// known refuses a message with a field that this build does not know: a newer
// client may mean something else by it than what is left without it.
func known(m protoreflect.Message) (err error) {
	if len(m.GetUnknown()) > 0 {
		return (&Problem{Status: http.StatusBadRequest, Message: "the request has a field that is not known here"}).
			Hinted("this server's admin.proto may be older than the client's")
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = known(v.List().Get(i).Message())
			}
		default:
			err = known(v.Message())
		}
		return err == nil
	})
	return err
}
