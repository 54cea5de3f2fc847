package etcd

import (
	"errors"
	"fmt"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger tells etcd's errors, and stops etcd instead of the process where etcd
// would end it: answers must not stop with the store.
func (s *server) logger(problem func(error)) *zap.Logger {
	core := &problems{tell: func(err error) { problem(fmt.Errorf("store: the embedded etcd: %w", err)) }}
	return zap.New(core, zap.WithFatalHook(hook(s.give)), zap.WithPanicHook(hook(s.give)))
}

// hook ends the goroutine that logged: what follows the call must not run.
type hook func(error)

func (h hook) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	h(entryError(entry.Entry, fields))
	runtime.Goexit()
}

// problems is a zap core that passes on errors.
type problems struct {
	tell func(error)
	with []zapcore.Field
}

func (*problems) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }
func (*problems) Sync() error                      { return nil }

func (p *problems) With(fields []zapcore.Field) zapcore.Core {
	return &problems{p.tell, append(p.with[:len(p.with):len(p.with)], fields...)}
}

func (p *problems) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if p.Enabled(entry.Level) {
		return checked.AddCore(entry, p)
	}
	return checked
}

// harmless is what etcd logs as an error in the first seconds of a new member,
// and then mends.
const harmless = "failed to update storage version"

func (p *problems) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if entry.Message == harmless {
		return nil
	}
	p.tell(entryError(entry, append(p.with[:len(p.with):len(p.with)], fields...)))
	return nil
}

// entryError is a log entry's message with its error.
func entryError(entry zapcore.Entry, fields []zapcore.Field) error {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", entry.Message, err)
		}
	}
	return errors.New(entry.Message)
}
