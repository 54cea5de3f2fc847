package admin

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/safestate/safestate/internal/admin/adminv1"
	"github.com/safestate/safestate/internal/release"
)

// Every route is a method of gRPC with the same words, and there is no other method
// but the one that waits for a proof.
func TestTheProtoIsTheSameAPI(t *testing.T) {
	methods := adminv1.File_admin_proto.Services().ByName("Admin").Methods()
	found := map[string]bool{"WatchKillProof": true}
	everyRoute(t, func(r *route) {
		m := methodOf(t, r.rpc)
		found[r.rpc] = true
		if want := protoreflect.Name(r.rpc + "Request"); m.Input().Name() != want {
			t.Errorf("%s takes %s, want %s", r.rpc, m.Input().Name(), want)
		}
		words := append(r.named(), r.params...)
		if r.body != nil {
			words = append(words, wordsOf(t, reflect.TypeOf(r.body), m.Input())...)
		}
		if got := namesOf(m.Input()); !same(got, words) {
			t.Errorf("%s has %q, want %q", m.Input().Name(), got, words)
		}
		if r.stream == nil {
			message(t, reflect.TypeOf(r.answer), m.Output(), map[string]bool{})
		}
	})
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); !found[name] {
			t.Errorf("%s is no route", name)
		}
	}
}

func same(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func namesOf(d protoreflect.MessageDescriptor) (names []string) {
	for i := range d.Fields().Len() {
		names = append(names, d.Fields().Get(i).JSONName())
	}
	return names
}

// message holds a type against the message that it is sent as.
func message(t *testing.T, of reflect.Type, d protoreflect.MessageDescriptor, seen map[string]bool) {
	t.Helper()
	if seen[of.Name()] {
		return
	}
	seen[of.Name()] = true
	if string(d.Name()) != of.Name() {
		t.Errorf("%s is sent as %s", of.Name(), d.Name())
	}
	if want, got := wordsOf(t, of, d), namesOf(d); !same(got, want) {
		t.Errorf("%s has %q, want %q: a new field gets the next number in adminv1/admin.proto, then adminv1/generate.sh", d.Name(), got, want)
	}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		f := d.Fields().ByJSONName(name)
		if f == nil {
			continue
		}
		if inner := structOf(of.Field(i).Type); inner != nil {
			to := f.Message()
			if f.IsMap() {
				to = f.MapValue().Message()
			}
			message(t, inner, to, seen)
		}
	}
}

// structOf is the type of ours that a field has, or has many of; nil: none.
func structOf(of reflect.Type) reflect.Type {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() {
		return nil
	}
	return of
}

// wordsOf are a type's names in JSON. What may be absent, or 0, is optional.
func wordsOf(t *testing.T, of reflect.Type, d protoreflect.MessageDescriptor) (words []string) {
	t.Helper()
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		words = append(words, name)
		f := d.Fields().ByJSONName(name)
		if f == nil {
			continue
		}
		kind := of.Field(i).Type
		scalar := kind.Kind() == reflect.Pointer && kind.Elem().Kind() != reflect.Struct
		if scalar != f.HasOptionalKeyword() {
			t.Errorf("%s.%s: optional is %v, want %v", d.Name(), f.Name(), f.HasOptionalKeyword(), scalar)
		}
		for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
			kind = kind.Elem()
		}
		if want := kindOf(kind); want != f.Kind() {
			t.Errorf("%s.%s is %s, want %s", d.Name(), f.Name(), f.Kind(), want)
		}
	}
	return words
}

func kindOf(of reflect.Type) protoreflect.Kind {
	if of == reflect.TypeFor[release.Duration]() {
		return protoreflect.StringKind
	}
	switch of.Kind() {
	case reflect.Bool:
		return protoreflect.BoolKind
	case reflect.Int, reflect.Int64:
		return protoreflect.Int64Kind
	case reflect.Uint64:
		return protoreflect.Uint64Kind
	case reflect.Float64:
		return protoreflect.DoubleKind
	case reflect.String:
		return protoreflect.StringKind
	default:
		return protoreflect.MessageKind
	}
}
