package admin

import (
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// errorDomain is that of ErrorInfo.
const errorDomain = "safestate.dev"

// outcome is what a status is by gRPC.
type outcome struct {
	code   codes.Code
	reason string // of ErrorInfo
}

// outcomes are those of all statuses that a call may end with. Those that stem from
// HTTP alone, such as a media type, cannot come up here.
var outcomes = map[int]outcome{
	http.StatusBadRequest:            {codes.InvalidArgument, "INVALID"},
	http.StatusUnauthorized:          {codes.Unauthenticated, "UNAUTHENTICATED"},
	http.StatusForbidden:             {codes.PermissionDenied, "FORBIDDEN"},
	http.StatusNotFound:              {codes.NotFound, "NOT_FOUND"},
	http.StatusConflict:              {codes.FailedPrecondition, "CONFLICT"},
	http.StatusRequestEntityTooLarge: {codes.ResourceExhausted, "TOO_LARGE"},
	http.StatusUnprocessableEntity:   {codes.InvalidArgument, "KEY_REUSED"},
	http.StatusTooManyRequests:       {codes.ResourceExhausted, "TOO_MANY"},
	http.StatusInternalServerError:   {codes.Internal, "INTERNAL"},
	http.StatusServiceUnavailable:    {codes.Unavailable, "UNAVAILABLE"},
}

// rpcError is a problem as gRPC has it: a google.rpc.Status with ErrorInfo (the hint,
// and the generation that there is), and BadRequest where a field is to blame.
func rpcError(p *Problem) error {
	o, ok := outcomes[p.Status]
	if !ok {
		o = outcomes[http.StatusInternalServerError]
	}
	info := &errdetails.ErrorInfo{Reason: o.reason, Domain: errorDomain, Metadata: map[string]string{}}
	if p.Hint != "" {
		info.Metadata["hint"] = trailing(p.Hint)
	}
	if p.Generation != 0 {
		info.Metadata["generation"] = strconv.FormatUint(p.Generation, 10)
	}
	details := []protoadapt.MessageV1{info}
	if p.Field != "" {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: trailing(p.Field), Description: trailing(p.Message)},
		}})
	}
	if p.Retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(p.Retry)})
	}
	s := grpcstatus.New(o.code, trailing(p.Error()))
	if full, err := s.WithDetails(details...); err == nil {
		s = full
	}
	return s.Err()
}

// mostTrailing bounds each text of an error: clients take about 8 KiB of trailers.
const mostTrailing = 1000

// trailing makes a text one that fits into trailers, without what a terminal would
// act on.
func trailing(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
	if len(text) <= mostTrailing {
		return text
	}
	return strings.ToValidUTF8(text[:mostTrailing], "") + "…"
}
