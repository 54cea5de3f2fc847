package fallback

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// The calls of the Open Inference Protocol's service that are made here.
const (
	grpcModelInfer  = "/inference.GRPCInferenceService/ModelInfer"
	grpcServerReady = "/inference.GRPCInferenceService/ServerReady"
)

// frameHead is the size of what stands before each message: a byte that says
// whether it is compressed, and its length.
// Source: gRPC over HTTP2, "Length-Prefixed-Message".
const frameHead = 5

// statusUnimplemented is gRPC's UNIMPLEMENTED.
const statusUnimplemented = 12

func (c *Client) grpc() bool { return c.cfg.Protocol == policy.OpenInferenceGRPC }

// sealFrame writes the head of an uncompressed frame into the room for it at
// the front of b.
func sealFrame(b []byte) []byte {
	b[0] = 0
	binary.BigEndian.PutUint32(b[1:frameHead], uint32(len(b)-frameHead))
	return b
}

// readMessage reads the answer of a unary call and closes its body.
func (c *Client) readMessage(resp *http.Response) (*Answer, error) {
	defer func() { _ = resp.Body.Close() }() // an unread rest resets the call
	if t := resp.Header.Get("Content-Type"); !isGRPC(t) {
		return nil, &Error{Kind: Broken, Err: fmt.Errorf("content-type %q is no gRPC", t)}
	}
	if resp.Header.Get("Grpc-Status") != "" { // trailers only
		if err := statusError(resp.Header); err != nil {
			return nil, err
		}
	}
	message, err := c.readFrame(resp.Body)
	if err != nil {
		return nil, err
	}
	// The trailers come with the body's end.
	n, err := io.CopyN(io.Discard, resp.Body, 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &bodyError{err}
	}
	if n > 0 {
		return nil, &Error{Kind: Broken, Err: errors.New("more than one message")}
	}
	if err := statusError(resp.Trailer); err != nil {
		return nil, err
	}
	if message == nil {
		return nil, &Error{Kind: Broken, Err: errors.New("status OK without a message")}
	}
	return &Answer{Status: http.StatusOK, Headers: AnswerHeaders{"Content-Type": {protocol.TypeGRPC}}, Body: message}, nil
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), protocol.TypeGRPC)
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// readFrame reads one message of at most MaxBytes; nil: the body has none.
func (c *Client) readFrame(body io.Reader) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(body, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, &bodyError{err}
	}
	if head[0] != 0 {
		return nil, &Error{Kind: Broken, Err: errors.New("a compressed message, though identity was asked for")}
	}
	size := int64(binary.BigEndian.Uint32(head[1:]))
	if size > c.cfg.MaxBytes {
		return nil, &Error{Kind: TooLarge, Err: fmt.Errorf("the message has %d bytes, at most %d are read", size, c.cfg.MaxBytes)}
	}
	message := make([]byte, size)
	if _, err := io.ReadFull(body, message); err != nil {
		return nil, &bodyError{err}
	}
	return message, nil
}

// statusError reads grpc-status; nil is OK.
func statusError(h http.Header) error {
	text := h.Get("Grpc-Status")
	code, err := strconv.Atoi(text)
	if err != nil || code < 0 {
		return &Error{Kind: Broken, Err: fmt.Errorf("grpc-status %q", text)}
	}
	if code == 0 {
		return nil
	}
	return &Error{Kind: Status, Status: protocol.HTTPStatus(code), Err: &callError{code}}
}

// callError is the status of a gRPC call that failed. Its message is the
// model's own text and is not read.
type callError struct{ code int }

func (e *callError) Error() string { return "grpc-status " + strconv.Itoa(e.code) }

// probeGRPC asks whether the server is ready. One that does not know the call
// is there all the same.
func (c *Client) probeGRPC(ctx context.Context, e *endpoint, _ *url.URL) error {
	resp, err := c.open(ctx, e, &question{ //nolint:bodyclose // readMessage closes it
		target:  &url.URL{Path: grpcServerReady},
		headers: [][2]string{{"Content-Type", protocol.TypeGRPC}, {"Te", "trailers"}},
		body:    &upload{body: sealFrame(make([]byte, frameHead))},
	})
	if err != nil {
		return err
	}
	answer, err := c.readMessage(resp)
	var failed *callError
	switch {
	case errors.As(err, &failed) && failed.code == statusUnimplemented:
		return nil
	case err != nil:
		return err
	case !ready(answer.Body):
		return &Error{Kind: Status, Status: http.StatusServiceUnavailable}
	}
	return nil
}

// ready reads a ServerReadyResponse, whose first field is a bool.
func ready(message []byte) bool {
	num, kind, n := protowire.ConsumeTag(message)
	if n < 0 || num != 1 || kind != protowire.VarintType {
		return false
	}
	v, n := protowire.ConsumeVarint(message[n:])
	return n > 0 && v != 0
}
