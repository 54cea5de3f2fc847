package expr

// document is the variable request or response.
type document struct{ response bool }

func (n *document) eval(f *frame) value {
	name, root := "request", f.env.Request
	if n.response {
		name, root = "response", f.env.Response
	}
	if !root.Exists() {
		return fail(Unavailable, name)
	}
	return f.fromNode(root)
}

// status is the variable status.
type status struct{}

func (status) eval(f *frame) value { return integer(int64(f.env.Status)) }

// selection is X.a.b.
type selection struct {
	operand node
	fields  []string
}

func (n *selection) eval(f *frame) value {
	v := n.operand.eval(f)
	for _, name := range n.fields {
		if v.kind == kindError || !f.spend(1) {
			return v
		}
		key := text(name)
		v = v.member(f, &key)
	}
	return v
}

// index is X[I].
type index struct{ operand, key node }

func (n *index) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.operand.eval(f)
	if v.kind == kindError {
		return v
	}
	k := n.key.eval(f)
	if k.kind == kindError {
		return k
	}
	return v.member(f, &k)
}

// presence is has(X.a): false for anything that has no members, an error for
// lists, which is what cel-go does.
type presence struct {
	operand node
	field   string
}

func (n *presence) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.operand.eval(f)
	switch v.kind {
	case kindError:
		return v
	case kindMap:
		key := text(n.field)
		got, found := v.find(f, &key)
		if found && got.kind == kindError {
			return got
		}
		return boolean(found)
	case kindList:
		return fail(NoSuchIndex, n.field)
	}
	return boolean(false)
}

// member is v[k], or v.k where k is a string.
func (v *value) member(f *frame, k *value) value {
	switch k.kind {
	case kindBool, kindInt, kindUint, kindDouble, kindString:
	default:
		return fail(NoOverload, "[]")
	}
	switch v.kind {
	case kindMap:
		if got, found := v.find(f, k); found {
			return got
		}
		return fail(NoSuchKey, k.text)
	case kindList:
		i, ok := k.position()
		if !ok || i < 0 || i >= int64(v.length()) {
			return fail(NoSuchIndex, k.text)
		}
		return v.at(f, int(i))
	}
	return fail(NoSuchKey, k.text)
}

// position is a value as the index of a list.
func (v *value) position() (int64, bool) {
	switch v.kind {
	case kindInt:
		return int64(v.num), true
	case kindUint:
		return int64(v.num), v.num < twoTo63
	case kindDouble:
		return exactInt(v.double())
	}
	return 0, false
}

// at is element i of a list, which it has.
func (v *value) at(f *frame, i int) value {
	if v.list != nil {
		return v.list.elems[i]
	}
	f.spend(i >> 2) // a jump walks from the beginning
	return f.fromNode(v.node.At(i))
}

// find looks a key up in a map. Found with an error value means that the key is
// there more than once.
func (v *value) find(f *frame, k *value) (value, bool) {
	if v.dict != nil {
		return v.dict.find(f, k)
	}
	if k.kind != kindString {
		return value{}, false
	}
	f.spend(v.node.Len() >> 2)
	n, dup := v.node.Get(k.text)
	switch {
	case dup:
		return fail(DuplicateKey, k.text), true
	case !n.Exists():
		return value{}, false
	}
	return f.fromNode(n), true
}

// find tries the key as it is and then as the other integer types, as cel-go's
// map of typed values does. A stored double is only found by a double.
func (d *dict) find(f *frame, k *value) (value, bool) {
	f.spend(len(d.entries) >> 2)
	if v, ok := d.exact(k); ok {
		return v, true
	}
	switch k.kind {
	case kindDouble:
		if i, ok := exactInt(k.double()); ok {
			key := integer(i)
			if v, ok := d.exact(&key); ok {
				return v, true
			}
		}
		if u, ok := exactUint(k.double()); ok {
			key := unsigned(u)
			return d.exact(&key)
		}
	case kindInt:
		if int64(k.num) >= 0 {
			key := unsigned(k.num)
			return d.exact(&key)
		}
	case kindUint:
		if k.num < twoTo63 {
			key := integer(int64(k.num))
			return d.exact(&key)
		}
	}
	return value{}, false
}

func (d *dict) exact(k *value) (value, bool) {
	for i := range d.entries {
		if sameKey(&d.entries[i].key, k) {
			return d.entries[i].val, true
		}
	}
	return value{}, false
}

func (d *dict) set(k, v value) {
	for i := range d.entries {
		if sameKey(&d.entries[i].key, &k) {
			d.entries[i].val = v
			return
		}
	}
	d.entries = append(d.entries, entry{k, v})
}

// sameKey is Go's equality of typed scalars. Lists and maps are never the same
// key: cel-go compares their addresses.
func sameKey(a, b *value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case kindNull:
		return true
	case kindBool, kindInt, kindUint:
		return a.num == b.num
	case kindDouble:
		return a.double() == b.double()
	case kindString:
		return a.text == b.text
	}
	return false
}

// header is request_headers[K] and its tests: in and has().
type header struct {
	response, test bool
	key            node
}

func (n *header) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	k := n.key.eval(f)
	if k.kind == kindError {
		return k
	}
	from := f.env.RequestHeaders
	if n.response {
		from = f.env.ResponseHeaders
	}
	var got string
	found := false
	// Names are lower case in Envoy: another spelling is no name.
	if k.kind == kindString && from != nil && lower(k.text) {
		got, found = from.Get(k.text)
	}
	switch {
	case n.test:
		return boolean(found)
	case !found:
		return fail(NoSuchKey, k.text)
	}
	return text(got)
}

func lower(s string) bool {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return false
		}
	}
	return true
}
