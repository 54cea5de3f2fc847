package expr

import "math"

// Arithmetic on ints and uints is checked: CEL has no wrap-around. Comparison
// follows cel-go's common/types/compare.go, its rounding of large ints to
// doubles included.

const (
	twoTo63 = 1 << 63 // as a float64
	twoTo64 = 1 << 64
)

func addInt(x, y int64) (int64, bool) {
	if (y > 0 && x > math.MaxInt64-y) || (y < 0 && x < math.MinInt64-y) {
		return 0, false
	}
	return x + y, true
}

func subInt(x, y int64) (int64, bool) {
	if (y < 0 && x > math.MaxInt64+y) || (y > 0 && x < math.MinInt64+y) {
		return 0, false
	}
	return x - y, true
}

func mulInt(x, y int64) (int64, bool) {
	if x == 0 || y == 0 {
		return 0, true
	}
	// Only MinInt64 * -1 wraps to a product that divides back.
	p := x * y
	if (x == -1 && y == math.MinInt64) || (y == -1 && x == math.MinInt64) || p/y != x {
		return 0, false
	}
	return p, true
}

// doubleToInt truncates. Both ends of the range are excluded, as in cel-go.
func doubleToInt(d float64) (int64, bool) {
	if math.IsNaN(d) || d <= -twoTo63 || d >= twoTo63 {
		return 0, false
	}
	return int64(d), true
}

func doubleToUint(d float64) (uint64, bool) {
	if math.IsNaN(d) || d < 0 || d >= twoTo64 {
		return 0, false
	}
	return uint64(d), true
}

// exactInt is doubleToInt of a double without fraction.
func exactInt(d float64) (int64, bool) {
	i, ok := doubleToInt(d)
	return i, ok && float64(i) == d
}

func exactUint(d float64) (uint64, bool) {
	u, ok := doubleToUint(d)
	return u, ok && float64(u) == d
}

func order[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func orderDoubleInt(d float64, i int64) int {
	switch {
	case d < -twoTo63:
		return -1
	case d > twoTo63:
		return 1
	}
	return order(d, float64(i))
}

func orderDoubleUint(d float64, u uint64) int {
	switch {
	case d < 0:
		return -1
	case d > twoTo64:
		return 1
	}
	return order(d, float64(u))
}

func orderIntUint(i int64, u uint64) int {
	if i < 0 || u > math.MaxInt64 {
		return -1
	}
	return order(i, int64(u))
}

// orderNumbers compares two numbers of any types, neither of them NaN. It is
// not ok where one is no number.
func orderNumbers(a, b *value) (int, bool) {
	switch a.kind {
	case kindInt:
		switch b.kind {
		case kindInt:
			return order(int64(a.num), int64(b.num)), true
		case kindUint:
			return orderIntUint(int64(a.num), b.num), true
		case kindDouble:
			return -orderDoubleInt(b.double(), int64(a.num)), true
		}
	case kindUint:
		switch b.kind {
		case kindInt:
			return -orderIntUint(int64(b.num), a.num), true
		case kindUint:
			return order(a.num, b.num), true
		case kindDouble:
			return -orderDoubleUint(b.double(), a.num), true
		}
	case kindDouble:
		switch b.kind {
		case kindInt:
			return orderDoubleInt(a.double(), int64(b.num)), true
		case kindUint:
			return orderDoubleUint(a.double(), b.num), true
		case kindDouble:
			return order(a.double(), b.double()), true
		}
	}
	return 0, false
}
