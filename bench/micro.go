package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// micro runs the scanner's own benchmarks, in which both sides of a ratio
// stand beside each other, and takes the median of their figures.
func micro(ratios map[string]float64) error {
	for _, m := range []struct {
		pkg, bench string
		figures    map[string]string // the unit that the benchmark reports, and the name of the ratio
	}{
		{"./internal/scan", "^BenchmarkTensorRatio$/^10000$", map[string]string{
			"times-json": "json_scan_over_encoding_json", "scan-MB/s": "json_scan_mb_s",
		}},
		{"./internal/tensor", "^BenchmarkRaw$/^FP32$", map[string]string{
			"of-read": "tensor_scan_over_read_bandwidth",
		}},
	} {
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", m.bench, "-count", "7", m.pkg) //nolint:gosec // fixed words
		text, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", m.pkg, err, text)
		}
		fmt.Print(string(text))
		for unit, name := range m.figures {
			values := figures(text, unit)
			if len(values) == 0 {
				return fmt.Errorf("%s reports no %s", m.bench, unit)
			}
			ratios[name] = median(values)
		}
	}
	return nil
}

// figures finds the values of a unit in the lines of the testing package.
func figures(text []byte, unit string) []float64 {
	var out []float64
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		for i := 1; i < len(words); i++ {
			if words[i] != unit {
				continue
			}
			if v, err := strconv.ParseFloat(words[i-1], 64); err == nil {
				out = append(out, v)
			}
		}
	}
	return out
}
