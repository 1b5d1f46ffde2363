package podium

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind is a kind of error, and an error itself: errors.Is(err, podium.NotFound).
type Kind string

// What a server answers, one kind a gRPC status.
const (
	// NotFound: no such model, version, alias or file.
	NotFound Kind = "NotFound"
	// AlreadyExists: the name is taken, by something else.
	AlreadyExists Kind = "AlreadyExists"
	// InvalidArgument: a name, reference, number or text is not as it must be; Fields says which.
	InvalidArgument Kind = "InvalidArgument"
	// FailedPrecondition: a rule says no: a transition, blobs that are missing, a version that may not serve.
	FailedPrecondition Kind = "FailedPrecondition"
	// Conflict: somebody else was first; Metadata["current"] is what is there now.
	Conflict Kind = "Conflict"
	// OutOfRange: an offset that does not fit, or a position of another history.
	OutOfRange Kind = "OutOfRange"
	// ResourceExhausted: the server is full or overloaded, or something is too large.
	ResourceExhausted Kind = "ResourceExhausted"
	// DataLoss: the server's bytes are no longer what they were.
	DataLoss Kind = "DataLoss"
	// Unavailable: no server is there, it is stopping, or it did not answer in time. The same call may work later.
	Unavailable Kind = "Unavailable"
	// InternalError: the server failed; Metadata["error_id"], if any, is in its log.
	InternalError Kind = "InternalError"
)

// What the client finds by itself.
const (
	// PushRefused: what should be pushed cannot be pushed as it is; the message says what to do.
	PushRefused Kind = "PushRefused"
	// DamagedFile: the bytes that arrived do not have the digest that they should have.
	DamagedFile Kind = "DamagedFile"
	// HostileServer: the server sent what no Podium server may send. Nothing of it was kept.
	HostileServer Kind = "HostileServer"
	// DiskFull: the disk of this machine has no room for the files.
	DiskFull Kind = "DiskFull"
)

// Error makes a kind a target for errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is what a server, the network or a value is to blame for. Files and folders of this machine that cannot be read or
// written may be other errors.
type Error struct {
	// Kind is empty for a status that has none, a call that was cancelled for example.
	Kind Kind
	// Reason is what programs match on, ALIAS_NOT_FOUND for example. See the contract, RegistryService, Errors.
	Reason string
	// Code is the gRPC status; codes.OK if no server said so.
	Code codes.Code
	// Metadata is for machines.
	Metadata map[string]string
	// Fields says what is wrong with which field of the request.
	Fields map[string]string
	// Message is one line.
	Message string

	cause error
}

func (e *Error) Error() string { return e.Message }

// Is says whether the error is of a Kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && e.Kind == kind
}

// Unwrap returns what gRPC or the context said, if anything.
func (e *Error) Unwrap() error { return e.cause }

// errorf makes an error that the client found by itself.
func errorf(kind Kind, format string, values ...any) *Error {
	return &Error{Kind: kind, Message: oneLine(fmt.Sprintf(format, values...))}
}

// badField makes an InvalidArgument about one field: the message is `SUBJECT WHY`.
func badField(field, subject, why string) *Error {
	e := errorf(InvalidArgument, "%s %s", subject, why)
	e.Fields = map[string]string{field: why}
	return e
}

var kinds = map[codes.Code]Kind{
	codes.NotFound:           NotFound,
	codes.AlreadyExists:      AlreadyExists,
	codes.InvalidArgument:    InvalidArgument,
	codes.FailedPrecondition: FailedPrecondition,
	codes.Aborted:            Conflict,
	codes.OutOfRange:         OutOfRange,
	codes.ResourceExhausted:  ResourceExhausted,
	codes.DataLoss:           DataLoss,
	codes.Unavailable:        Unavailable,
	codes.DeadlineExceeded:   Unavailable,
	codes.Internal:           InternalError,
	codes.Unknown:            InternalError,
	codes.Unimplemented:      InternalError,
}

// codeNames are the names of the statuses as the contract writes them.
var codeNames = map[codes.Code]string{
	codes.Canceled:           "CANCELLED",
	codes.Unknown:            "UNKNOWN",
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	codes.NotFound:           "NOT_FOUND",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Aborted:            "ABORTED",
	codes.OutOfRange:         "OUT_OF_RANGE",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.Internal:           "INTERNAL",
	codes.Unavailable:        "UNAVAILABLE",
	codes.DataLoss:           "DATA_LOSS",
	codes.Unauthenticated:    "UNAUTHENTICATED",
}

// fromCall makes the error of a call to this address that did not end with OK, under the context of the caller.
func fromCall(ctx context.Context, err error, address string) error {
	told, isStatus := status.FromError(err)
	if err == nil || !isStatus {
		return err
	}
	e := &Error{Kind: kinds[told.Code()], Code: told.Code(), Message: oneLine(told.Message()), cause: err}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "podium" {
				e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			e.Fields = fieldsOf(detail)
		}
	}
	if e.Reason == "" {
		e.Reason, e.Message = codeNames[e.Code], inOurWords(told, address)
	}
	e.Message = cmp.Or(e.Message, codeNames[e.Code])
	if ctx.Err() != nil {
		e.cause = errors.Join(ctx.Err(), err)
	}
	return e
}

func fieldsOf(bad *errdetails.BadRequest) map[string]string {
	fields := make(map[string]string)
	for _, violation := range bad.GetFieldViolations() {
		fields[violation.GetField()] = violation.GetDescription()
	}
	return fields
}

// inOurWords says what gRPC's own errors mean here: those came from no Podium server.
func inOurWords(told *status.Status, address string) string {
	switch told.Code() {
	case codes.Unavailable:
		return fmt.Sprintf("no Podium server at %s: start one with 'podium serve' or set PODIUM_URL", address)
	case codes.DeadlineExceeded:
		return fmt.Sprintf("the server at %s did not answer in time", address)
	case codes.Unimplemented:
		return fmt.Sprintf("the server at %s does not know this call: it is no Podium server, or an older one", address)
	}
	return oneLine(fmt.Sprintf("%s: %s", address, told.Message()))
}

// onDisk makes DiskFull of an error that says that there is no room, at a path.
func onDisk(err error, path string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errorf(DiskFull, "no room left for %s", path)
	}
	return err
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
