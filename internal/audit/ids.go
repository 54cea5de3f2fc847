package audit

import "crypto/sha256"

// maxIDs is how many entries back an ID is known to be in the chain.
const maxIDs = 1 << 20

// idSet finds the sequence numbers of the newest entries by their IDs, of which
// it keeps 128 bits of a hash. The zero set is empty.
type idSet struct {
	sequences map[[16]byte]uint64
	order     [][16]byte // the oldest first; a ring once it is full
	oldest    int
}

func idHash(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}

func (s *idSet) get(id string) (sequence uint64, ok bool) {
	sequence, ok = s.sequences[idHash(id)]
	return sequence, ok
}

func (s *idSet) add(id string, sequence uint64) {
	if s.sequences == nil {
		s.sequences = map[[16]byte]uint64{}
	}
	h := idHash(id)
	s.sequences[h] = sequence
	if len(s.order) < maxIDs {
		s.order = append(s.order, h)
		return
	}
	delete(s.sequences, s.order[s.oldest])
	s.order[s.oldest] = h
	s.oldest = (s.oldest + 1) % maxIDs
}
