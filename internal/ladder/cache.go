package ladder

import (
	"context"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
)

type cacheRung struct{ cfg *policy.Cache }

func newCacheRung(cfg *policy.Cache, l *Ladder, s *State) (*cacheRung, error) {
	return &cacheRung{cfg}, nil
}
func (r *cacheRung) source() Source  { return Cache }
func (r *cacheRung) networked() bool { return true }
func (r *cacheRung) answer(ctx context.Context, ask *Ask) (Answer, Outcome) {
	return Answer{}, Missed
}
func (r *cacheRung) remember(x *detect.Exchange, v policy.Version) {}
