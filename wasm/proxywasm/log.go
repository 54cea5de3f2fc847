package proxywasm

import "github.com/safestate/safestate/wasm/proxywasm/abi"

// LogTrace logs a line.
func LogTrace(msg string) { hostLog(abi.Trace, msg) }

// LogDebug logs a line.
func LogDebug(msg string) { hostLog(abi.Debug, msg) }

// LogInfo logs a line.
func LogInfo(msg string) { hostLog(abi.Info, msg) }

// LogWarn logs a line.
func LogWarn(msg string) { hostLog(abi.Warn, msg) }

// LogError logs a line.
func LogError(msg string) { hostLog(abi.Error, msg) }

// LogCritical logs a line.
func LogCritical(msg string) { hostLog(abi.Critical, msg) }
