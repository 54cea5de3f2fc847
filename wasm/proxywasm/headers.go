package proxywasm

import (
	"math"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// GetHttpRequestHeaders reads all request headers, in OnHttpRequestHeaders.
// Later there are none.
func GetHttpRequestHeaders() ([][2]string, error) { return getPairs(abi.RequestHeaders) }

// GetHttpRequestHeader reads the first value of a request header.
func GetHttpRequestHeader(key string) (string, error) { return getValue(abi.RequestHeaders, key) }

// AddHttpRequestHeader adds a value to a request header.
func AddHttpRequestHeader(key, value string) error {
	return failed(hostAddValue(abi.RequestHeaders, key, value))
}

// ReplaceHttpRequestHeader replaces all values of a request header.
func ReplaceHttpRequestHeader(key, value string) error {
	return failed(hostReplaceValue(abi.RequestHeaders, key, value))
}

// RemoveHttpRequestHeader removes a request header.
func RemoveHttpRequestHeader(key string) error {
	return failed(hostRemoveValue(abi.RequestHeaders, key))
}

// GetHttpRequestBody reads what of the request's body is there, in
// OnHttpRequestBody.
func GetHttpRequestBody(start, maxSize int) ([]byte, error) {
	return getBuffer(abi.RequestBody, start, maxSize)
}

// GetHttpRequestTrailers reads the trailers, in OnHttpRequestTrailers.
func GetHttpRequestTrailers() ([][2]string, error) { return getPairs(abi.RequestTrailers) }

// GetHttpResponseHeaders reads all response headers, from OnHttpResponseHeaders
// on as long as they are paused.
func GetHttpResponseHeaders() ([][2]string, error) { return getPairs(abi.ResponseHeaders) }

// GetHttpResponseHeader reads the first value of a response header.
func GetHttpResponseHeader(key string) (string, error) { return getValue(abi.ResponseHeaders, key) }

// AddHttpResponseHeader adds a value to a response header.
func AddHttpResponseHeader(key, value string) error {
	return failed(hostAddValue(abi.ResponseHeaders, key, value))
}

// ReplaceHttpResponseHeader replaces all values of a response header.
func ReplaceHttpResponseHeader(key, value string) error {
	return failed(hostReplaceValue(abi.ResponseHeaders, key, value))
}

// RemoveHttpResponseHeader removes a response header.
func RemoveHttpResponseHeader(key string) error {
	return failed(hostRemoveValue(abi.ResponseHeaders, key))
}

// ReplaceHttpResponseHeaders replaces all response headers.
func ReplaceHttpResponseHeaders(headers [][2]string) error {
	return setPairs(abi.ResponseHeaders, headers)
}

// GetHttpResponseBody reads what of the response's body is there, in
// OnHttpResponseBody. There is nothing to read where the chunk is empty, which
// is types.ErrorStatusNotFound.
func GetHttpResponseBody(start, maxSize int) ([]byte, error) {
	return getBuffer(abi.ResponseBody, start, maxSize)
}

// ReplaceHttpResponseBody replaces what of the response's body is there. A
// content-length of another size must have been removed with the headers.
func ReplaceHttpResponseBody(data []byte) error {
	return setBuffer(abi.ResponseBody, 0, math.MaxInt32, data)
}

// AppendHttpResponseBody appends to what of the response's body is there.
func AppendHttpResponseBody(data []byte) error {
	return setBuffer(abi.ResponseBody, math.MaxInt32, 0, data)
}

// GetHttpResponseTrailers reads the trailers, in OnHttpResponseTrailers.
func GetHttpResponseTrailers() ([][2]string, error) { return getPairs(abi.ResponseTrailers) }

// GetHttpResponseTrailer reads the first value of a trailer.
func GetHttpResponseTrailer(key string) (string, error) { return getValue(abi.ResponseTrailers, key) }

// ReplaceHttpResponseTrailer replaces all values of a trailer.
func ReplaceHttpResponseTrailer(key, value string) error {
	return failed(hostReplaceValue(abi.ResponseTrailers, key, value))
}

// RemoveHttpResponseTrailer removes a trailer.
func RemoveHttpResponseTrailer(key string) error {
	return failed(hostRemoveValue(abi.ResponseTrailers, key))
}
