package flowspec

import (
	"errors"
	"fmt"
)

// The reasons for which a match, a rule or an octet string is refused. The errors of this package wrap one of them
// (errors.Is) and name the component, the value and, where there is one, the fix.
var (
	// ErrFamily is a family other than IPv4 and IPv6, or a prefix of the other family.
	ErrFamily = errors.New("wrong address family")
	// ErrEmpty is a match without any component: it would apply to every packet.
	ErrEmpty = errors.New("no component")
	// ErrEmptyList is a component without any value, or one made from a range that ends before it begins.
	ErrEmptyList = errors.New("no value")
	// ErrUnknownType is a component type that the family does not have.
	ErrUnknownType = errors.New("unknown component type")
	// ErrOrder is a component that stands twice, or not in ascending order of type (RFC 8955 section 4.2).
	ErrOrder = errors.New("components not in ascending order of type, each once")
	// ErrPrefix is a prefix that is missing or longer than its family allows.
	ErrPrefix = errors.New("invalid prefix")
	// ErrHostBits is a prefix with bits set outside of its mask.
	ErrHostBits = errors.New("prefix has host bits")
	// ErrOffset is an offset in IPv4, or one that leaves nothing of the prefix (RFC 8956 section 3.1).
	ErrOffset = errors.New("invalid offset")
	// ErrValue is a value that the field cannot hold.
	ErrValue = errors.New("value out of range")
	// ErrOperator is an operator bit without meaning, or AND on the first value (RFC 8955 section 4.2.1).
	ErrOperator = errors.New("invalid operator")
	// ErrMixed is a component that has both a prefix and values.
	ErrMixed = errors.New("component has both prefix and values")

	// ErrTruncated is an octet string that ends inside of a component or before the length it declares.
	ErrTruncated = errors.New("truncated")
	// ErrWidth is a value of a length that the RFC forbids for its component.
	ErrWidth = errors.New("invalid value length")
	// ErrTooLong is a rule of more than MaxNLRILength octets.
	ErrTooLong = errors.New("too long for one NLRI")

	// ErrAction is an unknown action, one with fields of another type, or one out of order.
	ErrAction = errors.New("invalid action")
	// ErrInterfering is actions of which routers would choose one as they like (RFC 8955 section 7.7), or an action that
	// the family of the rule does not have. It is an ErrAction too.
	ErrInterfering = fmt.Errorf("%w: interference", ErrAction)
	// ErrRate is a rate that is not finite, negative, or above 0 and below 1 byte or packet per second.
	ErrRate = errors.New("invalid rate")

	// ErrTooManyValues is a component of more than MaxSafeValues operator and value pairs (see CheckSafe).
	ErrTooManyValues = errors.New("too many values in one component")
	// ErrNotEqual is the operator "not equal" (see CheckSafe).
	ErrNotEqual = errors.New("operator != resets sessions of common routers")
	// ErrConstant is a numeric operator that is false, or true, for every value (see CheckSafe).
	ErrConstant = errors.New("operator is constant")
	// ErrUnsafeOffset is an IPv6 prefix with an offset (see CheckSafe).
	ErrUnsafeOffset = errors.New("IPv6 offset resets sessions of common routers")
)

// The reasons for which rules that are valid by themselves are refused.
var (
	// ErrDuplicate is a second rule of the same Key in a RuleSet: a router holds one of them.
	ErrDuplicate = errors.New("two rules with the same match")
	// ErrNoPacket is a match that takes no packet (see Match.Simplify).
	ErrNoPacket = errors.New("no packet matches")
)

// refusal is one of the Err values in a sentence of its own. The sentence says all that the value's name says, which
// would read twice if it stood behind it; errors.Is finds the value all the same.
type refusal struct {
	kind error // nil: none of the Err values
	text string
	fix  string // what to write instead; empty: the sentence tells
}

func refuse(kind error, format string, args ...any) *refusal {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// advise returns the refusal with its fix.
func (e *refusal) advise(format string, args ...any) *refusal {
	e.fix = fmt.Sprintf(format, args...)
	return e
}

// Error returns the sentence and the fix.
func (e *refusal) Error() string {
	if e.fix == "" {
		return e.text
	}
	return e.text + "; " + e.fix
}

// Unwrap returns the Err value.
func (e *refusal) Unwrap() error { return e.kind }
