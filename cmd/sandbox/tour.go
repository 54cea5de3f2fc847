package main

import "fmt"

// tour is what to try, as lines that can be pasted.
func (s *stage) tour() string {
	if s.o.models == "mlserver" {
		return s.tourMLServer()
	}
	ask := func(header string) string {
		return fmt.Sprintf(`curl -si %s/v2/models/fraud/infer%s -d '{"id": "1", "parameters": {"amount": 120, "account_age_days": 400}, `+
			`"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [120, 400, 0, 0]}]}'`, local(s.o.traffic), header)
	}
	chat := func(header, stream string) string {
		return fmt.Sprintf(`curl -siN %s/v1/chat/completions%s -d '{"model": "chat"%s, `+
			`"messages": [{"role": "user", "content": "Count to sixty."}]}'`, local(s.o.traffic), header, stream)
	}
	const stream = `, "stream": true`
	return fmt.Sprintf(`
safestate is up; its policies are in %s (edit them: a change applies at once). Logs: %s. Ctrl-C stops everything.
Look at the x-safestate-source header of each answer.

1. A good answer, by the model itself:
%s

2. The model answers NaN:
%s

3. The model does not answer at all:
%s

4. The model is killed for ten seconds:
curl -s %s/fault -d '{"fault": "down", "for": "10s"}'; %s

Chat: the model says w0 w1 w2 …, the small model that is its fallback s0 s1 s2 …

5. A good answer:
%s

6. The same as a stream:
%s

7. A stream that ends before it says anything; the small model answers, as a stream too:
%s

8. A stream that ends after 20 tokens; they cannot be taken back, so an error event follows, which clients raise:
%s

9. What was counted:
curl -s %s/metrics | grep -E '^safestate_(prediction_served|detections)_total' | grep -v ' 0$'

`, s.config, s.o.logs, ask(""), ask(" -H 'x-sample-fault: nan-bare'"), ask(" -H 'x-sample-fault: never-answers'"),
		local(s.o.control), ask(""),
		chat("", ""), chat("", stream), chat(" -H 'x-sample-fault: cut-by-clean-end@0'", stream), chat(" -H 'x-sample-fault: cut-by-clean-end@20'", stream),
		local(s.o.http))
}

func (s *stage) tourMLServer() string {
	ask := func(model, data string) string {
		return fmt.Sprintf(`curl -si %s/v2/models/%s/infer -H 'content-type: application/json' -d '{"id": "1", `+
			`"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [%s]}]}'`, local(s.o.traffic), model, data)
	}
	const row = "0.5, 0.1, 1, 0"
	pid := s.parts[0].cmd.Process.Pid
	return fmt.Sprintf(`
safestate is up in front of a real MLServer with scikit-learn models; its policy is in %s. Logs: %s. Ctrl-C stops everything.
Look at the x-safestate-source header of each answer.

1. A good answer, by the model itself:
%s

2. A LinearRegression whose coef_[0] is NaN: MLServer answers 200 with null, safestate asks the fallback model:
%s

3. MLServer hangs (SIGSTOP), and goes on:
kill -STOP %d; %s; kill -CONT %d

4. A caller's own mistake stays the caller's (422 from MLServer, untouched):
curl -si %s/v2/models/fraud/infer -H 'content-type: application/json' -d '{"id": "1"}'

5. What was counted:
curl -s %s/metrics | grep -E '^safestate_(prediction_served|detections)_total' | grep -v ' 0$'

`, s.config, s.o.logs, ask("fraud", row), ask("fraud-nan", row), pid, ask("fraud", row), pid, local(s.o.traffic), local(s.o.http))
}
