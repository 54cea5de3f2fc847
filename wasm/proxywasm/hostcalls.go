package proxywasm

import (
	"errors"
	"math"
	"strconv"
	"unsafe"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// SetTickPeriodMilliSeconds sets the period of OnTick; 0 ends it.
func SetTickPeriodMilliSeconds(millSec uint32) error {
	return failed(hostSetTickPeriod(millSec))
}

// SetEffectiveContext makes host calls act on another context until the
// callback returns. It fails for a context that the host no longer has.
func SetEffectiveContext(contextID uint32) error {
	status := hostSetEffectiveContext(contextID)
	if status == abi.OK {
		vm.effective = contextID
	}
	return failed(status)
}

// GetPluginConfiguration reads the plugin's configuration, in OnPluginStart.
func GetPluginConfiguration() ([]byte, error) {
	return getBuffer(abi.PluginConfiguration, 0, math.MaxInt32)
}

// GetVMConfiguration reads the VM's configuration, in OnVMStart.
func GetVMConfiguration() ([]byte, error) {
	return getBuffer(abi.VMConfiguration, 0, math.MaxInt32)
}

// GetProperty reads an attribute of the stream. A text is its bytes, numbers
// are 8 bytes, little endian. A property that is empty is nil without an error.
func GetProperty(path []string) ([]byte, error) {
	if len(path) == 0 {
		return nil, errPath
	}
	scratch = scratch[:0]
	for i, part := range path {
		if i > 0 {
			scratch = append(scratch, 0)
		}
		scratch = append(scratch, part...)
	}
	value, status := hostGetProperty(view(scratch))
	return value, failed(status)
}

var errPath = errors.New("a property's path has at least one part")

// ResumeHttpRequest ends a pause of the request, as ResumeHttpResponse does.
func ResumeHttpRequest() error { return resume(abi.Request) }

// ResumeHttpResponse ends a pause of the response, after the callback. It is
// refused once the stream is answered or deleted, and beside anything else that
// this callback has the host do with the stream.
func ResumeHttpResponse() error { return resume(abi.Response) }

func resume(stream abi.Stream) error {
	if !vm.act(false) {
		return types.ErrorStatusBadArgument
	}
	return failed(hostContinueStream(stream))
}

// SendHttpResponse answers the caller, as long as no response headers have
// left. It happens after the callback, whose action then does not count. A body
// without a content-type is text/plain. gRPCStatus is -1 where the caller does
// not speak gRPC.
//
// Before there are response headers, the answer passes the response callbacks
// like any other. From OnHttpResponseHeaders on it goes straight to the caller.
// Once response headers have left, the stream is reset.
//
// A stream is answered once. A second answer is refused, and one in
// OnHttpStreamDone, and one beside a resume in the same callback.
func SendHttpResponse(statusCode uint32, headers [][2]string, body []byte, gRPCStatus int32) error {
	if !vm.act(true) {
		return types.ErrorStatusBadArgument
	}
	return failed(hostSendLocalResponse(statusCode, body, encode(headers), gRPCStatus))
}

// DispatchHttpCall sends a request to a cluster. callBack is called with what
// came back, or with zeros where nothing did, and not at all once the context
// that asked is gone. In it GetHttpCallResponseHeaders and the like can be
// called, and host calls act on the context that asked. headers must have
// :method, :path and :authority.
func DispatchHttpCall(upstream string, headers [][2]string, body []byte, trailers [][2]string,
	timeoutMillisecond uint32, callBack func(numHeaders, bodySize, numTrailers int)) (uint32, error) {
	both := encode(headers)
	n := len(both)
	both = abi.AppendPairs(both, trailers)
	keep(both)
	token, status := hostHTTPCall(upstream, both[:n], body, both[n:], timeoutMillisecond)
	if status != abi.OK {
		return 0, failed(status)
	}
	vm.calls.take(token) // one that never came back
	*vm.calls.put(token) = call{asked: vm.effective, back: callBack}
	return token, nil
}

// GetHttpCallResponseHeaders reads the headers of a call's answer, in its callback.
func GetHttpCallResponseHeaders() ([][2]string, error) { return getPairs(abi.CallResponseHeaders) }

// GetHttpCallResponseTrailers reads the trailers of a call's answer, in its callback.
func GetHttpCallResponseTrailers() ([][2]string, error) { return getPairs(abi.CallResponseTrailers) }

// GetHttpCallResponseBody reads the body of a call's answer, in its callback.
func GetHttpCallResponseBody(start, maxSize int) ([]byte, error) {
	return getBuffer(abi.CallResponseBody, start, maxSize)
}

// GetSharedData reads a key that all VMs with the same vm_id share. cas is for
// SetSharedData.
func GetSharedData(key string) (value []byte, cas uint32, err error) {
	value, cas, status := hostGetSharedData(key)
	return value, cas, failed(status)
}

// SetSharedData writes a key, if it was not changed since cas was read. With a
// cas of 0 it always writes.
func SetSharedData(key string, data []byte, cas uint32) error {
	return failed(hostSetSharedData(key, data, cas))
}

// Reuse gives back a body that a host call has returned and that nothing refers
// to any more, so that the next call needs no memory: in Envoy, 4 KB are then read
// in 0.9 µs and not in 2.4, 64 KB in 2.3 and not in 9.8. Natively it spoils the
// bytes. The SDK has no such function; without it everything works the same.
func Reuse(body []byte) { reuse(body) }

// scratch is what arguments are written into on their way to the host, which
// has copied them when a call returns.
var scratch []byte

// A scratch that one large call has grown is not kept.
const scratchKept = 64 << 10

func encode(pairs [][2]string) []byte {
	if size := abi.PairsSize(pairs); size > cap(scratch) {
		scratch = make([]byte, 0, size)
	}
	b := abi.AppendPairs(scratch[:0], pairs)
	keep(b)
	return b
}

func keep(b []byte) {
	if cap(b) <= scratchKept {
		scratch = b[:0]
	} else {
		scratch = nil
	}
}

func getPairs(kind abi.Map) ([][2]string, error) {
	b, status := hostGetPairs(kind)
	if status != abi.OK {
		return nil, failed(status)
	}
	return abi.Pairs(b)
}

func setPairs(kind abi.Map, pairs [][2]string) error {
	return failed(hostSetPairs(kind, encode(pairs)))
}

func getValue(kind abi.Map, key string) (string, error) {
	b, status := hostGetValue(kind, key)
	return view(b), failed(status)
}

func getBuffer(kind abi.Buffer, start, maxSize int) ([]byte, error) {
	if start < 0 || maxSize < 0 || start > math.MaxInt32 || maxSize > math.MaxInt32 {
		return nil, types.ErrorStatusBadArgument
	}
	b, status := hostGetBuffer(kind, uint32(start), uint32(maxSize))
	if status == abi.OK && len(b) == 0 {
		status = abi.NotFound
	}
	return b, failed(status)
}

func setBuffer(kind abi.Buffer, start, size uint32, data []byte) error {
	return failed(hostSetBuffer(kind, start, size, data))
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func failed(status abi.Status) error {
	switch status {
	case abi.OK:
		return nil
	case abi.NotFound:
		return types.ErrorStatusNotFound
	case abi.BadArgument:
		return types.ErrorStatusBadArgument
	case abi.Empty:
		return types.ErrorStatusEmpty
	case abi.CasMismatch:
		return types.ErrorStatusCasMismatch
	case abi.InternalFailure:
		return types.ErrorInternalFailure
	case abi.Unimplemented:
		return types.ErrorUnimplemented
	}
	return errors.New("the host returned status " + strconv.Itoa(int(status)))
}
