package config

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// mostCriteria of one model are watched.
const mostCriteria = 8

func (c *checker) kill(field string, k *v1alpha1.ModelKill) {
	if k == nil || k.Automatic == nil {
		return
	}
	a, field := k.Automatic, field+".automatic"
	switch n := len(a.When); {
	case n == 0:
		c.fail(field+".when", "is missing; want at least one criterion, such as {badPercent: 50, minRequests: 200, within: 1m}")
	case n > mostCriteria:
		c.fail(field+".when", "has %d criteria; want %d at most", n, mostCriteria)
	}
	for i := range a.When {
		c.killCriterion(fmt.Sprintf("%s.when[%d]", field, i), &a.When[i])
	}
	c.within(field+".coolDown", a.CoolDown, time.Minute, 24*time.Hour)
	c.count(field+".killsPerHour", a.KillsPerHour, 1, 60)
}

// killCriterion wants all three numbers: what is killed by itself, and on how
// little, nobody should have to look up.
func (c *checker) killCriterion(field string, k *v1alpha1.KillCriterion) {
	if k.BadPercent == nil {
		c.fail(field+".badPercent", "is missing; want the share of bad answers that kills, over 0 and at most 100")
	}
	c.percent(field+".badPercent", k.BadPercent, false)
	if k.MinRequests == nil {
		c.fail(field+".minRequests", "is missing; want the least answers to go by, 10 to 1000000")
	}
	c.count(field+".minRequests", k.MinRequests, 10, 1_000_000)
	if k.Within == nil {
		c.fail(field+".within", "is missing; want how old answers may be that count, 1s to 10m")
	}
	c.within(field+".within", k.Within, time.Second, 10*time.Minute)
}
