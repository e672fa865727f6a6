package policy

import "errors"

// Errors of Apply and Restore. None of them is about what a user wrote: that is a Violation or a Reason.
var (
	// ErrOrder: an entry or a record came in an order in which it cannot be used.
	ErrOrder = errors.New("out of order")
	// ErrUnknownChange: a change or a record of a kind that this version does not know.
	ErrUnknownChange = errors.New("unknown kind of change")
	// ErrBadChange: a change that cannot be what any version of Decide made.
	ErrBadChange = errors.New("change makes no sense")
	// ErrIncomplete: the records do not add up to a State.
	ErrIncomplete = errors.New("records are incomplete")

	errUnknownKind = errors.New("unknown kind of document")
)
