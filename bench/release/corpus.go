package main

import (
	"fmt"
	"math/rand/v2"
)

// result is what came of all variants of one incident.
type result struct {
	Name     string  `json:"name"`
	Fault    bool    `json:"fault"`
	Variants int     `json:"variants"`
	Right    int     `json:"right"`
	Rolled   int     `json:"rolled_back"`
	Common   int     `json:"called_common"`
	Median   float64 `json:"seconds_median,omitempty"`
	P90      float64 `json:"seconds_p90,omitempty"`
	wrong    []string
}

// corpus is all incidents.
type corpus struct {
	Results   []result `json:"results"`
	Precision float64  `json:"precision"`
	Recall    float64  `json:"recall"`
}

func playAll(w *workers, variants int) corpus {
	var c corpus
	var rightRolled, rolled, faults, found int
	for _, in := range incidents {
		plays := make([]play, variants)
		w.each(variants, func(i int, r *rand.Rand) {
			plays[i].r = r
			in.play(&plays[i])
		})
		res := result{Name: in.name, Fault: in.fault, Variants: variants}
		var times []float64
		for i := range plays {
			p := &plays[i]
			if p.rolled || p.early {
				rolled++
				res.Rolled++
			}
			ok := !p.early && p.rolled == in.fault
			if ok {
				res.Right++
			} else {
				res.wrong = append(res.wrong, fmt.Sprintf("%s at %s, %.3g a second, %s normal: early %v, %s | now %s: %s",
					percent(p.effect), percent(p.s.share), p.s.rps, percent(p.base), p.early, p.why, p.s.last.Verdict, p.s.last.Why))
			}
			if p.s.common {
				res.Common++
			}
			if in.fault {
				faults++
				if ok {
					found++
					rightRolled++
					times = append(times, p.at.Seconds())
				}
			}
		}
		if in.fault {
			res.Median, res.P90 = rank(times, 50), rank(times, 90)
		}
		c.Results = append(c.Results, res)
	}
	c.Precision = float64(rightRolled) / float64(max(1, rolled))
	c.Recall = float64(found) / float64(max(1, faults))
	return c
}

func (c *corpus) print() {
	fmt.Printf("\n%-52s %8s %6s %6s %9s %9s\n", "incident", "right is", "of", "right", "median s", "p90 s")
	for _, r := range c.Results {
		what := "nothing"
		if r.Fault {
			what = "rollback"
		}
		fmt.Printf("%-52s %8s %6d %6d", r.Name, what, r.Variants, r.Right)
		if r.Fault {
			fmt.Printf(" %9.2f %9.2f", r.Median, r.P90)
		} else if r.Common > 0 {
			fmt.Printf("   %d called a common cause", r.Common)
		}
		fmt.Println()
		for _, s := range r.wrong[:min(len(r.wrong), 3)] {
			fmt.Println("     ", s)
		}
	}
	fmt.Printf("precision %s, recall %s\n", percent(c.Precision), percent(c.Recall))
}
