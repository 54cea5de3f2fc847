package proxywasm

// table maps ids to values. Ids are given out by the host one after the other,
// so their low bits are a perfect hash of those that are alive, but for the few
// that live long, which are chained. It costs a third of a map.
type table[T any] struct {
	slots []*entry[T] // a power of two of them
	count int
	free  *entry[T]
}

type entry[T any] struct {
	id    uint32
	value T
	next  *entry[T]
}

const tableSize = 64

// slot mixes in higher bits: the ids of calls are multiples of four.
func (t *table[T]) slot(id uint32) *(*entry[T]) {
	return &t.slots[(id^id>>2)&uint32(len(t.slots)-1)]
}

// get returns the value of an id, or nil. It is the table's until take.
func (t *table[T]) get(id uint32) *T {
	if len(t.slots) == 0 {
		return nil
	}
	for e := *t.slot(id); e != nil; e = e.next {
		if e.id == id {
			return &e.value
		}
	}
	return nil
}

// put adds an id that the table does not have and returns its value, to set.
func (t *table[T]) put(id uint32) *T {
	if t.count >= len(t.slots) {
		t.grow()
	}
	e := t.free
	if e == nil {
		e = &entry[T]{}
	} else {
		t.free = e.next
	}
	at := t.slot(id)
	e.id, e.next, *at = id, *at, e
	t.count++
	return &e.value
}

// take removes an id and returns its value, or the zero value.
func (t *table[T]) take(id uint32) (value T) {
	if len(t.slots) == 0 {
		return value
	}
	for at := t.slot(id); *at != nil; at = &(*at).next {
		if e := *at; e.id == id {
			value = e.value
			*at = e.next
			*e = entry[T]{next: t.free}
			t.free = e
			t.count--
			return value
		}
	}
	return value
}

func (t *table[T]) grow() {
	old := t.slots
	t.slots = make([]*entry[T], max(tableSize, 2*len(old)))
	for _, e := range old {
		for e != nil {
			next, at := e.next, t.slot(e.id)
			e.next, *at = *at, e
			e = next
		}
	}
}
