package policy

import (
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// DocumentKind names a kind of document.
type DocumentKind string

// The kinds of document.
const (
	KindCustomer       DocumentKind = "Customer"
	KindProtectedBlock DocumentKind = "ProtectedBlock"
	KindRouter         DocumentKind = "Router"
	KindPolicy         DocumentKind = "Policy"
	KindSafeguards     DocumentKind = "Safeguards"
	KindDetector       DocumentKind = "Detector"
)

// DocumentRef names one document.
type DocumentRef struct {
	Kind DocumentKind
	Name string
}

// Document is one of *Customer, *ProtectedBlock, *Router, *Policy, *Safeguards and *Detector. Documents are replicated; a node
// keeps none of its own.
type Document interface {
	Ref() DocumentRef
	// Validate reports what is wrong with the document by itself, without looking at other documents.
	Validate() []Violation
}

// Violation is one thing wrong with a document or a request: where, what and how to mend it.
type Violation struct {
	Document DocumentRef // zero for a request that is not a document
	Field    string      // path of the field in the words of the YAML form, e.g. "links[3].prefix", "max_prefix"
	Problem  string      // e.g. `203.0.113.1/30 has host bits`
	Fix      string      // e.g. `write 203.0.113.0/30`
}

// CustomerID is the stable name of a customer.
type CustomerID string

// Customer is an organisation that the operator serves, and the space that may be scrubbed for it.
type Customer struct {
	ID       CustomerID
	Name     string
	Official []netip.Prefix // space that mitigations may act in
	// Within declares nesting: this customer's official prefixes may lie inside those of that customer, and then
	// belong to this one (the most specific customer).
	Within         CustomerID
	Links          []Link
	Tags           []string // words of the operator, for policies to ask for
	Contacts       []string // technical contacts: mail addresses or telephone numbers
	MaxMitigations int      // quota of active mitigations; 0: only the safeguards' limits
	// Services are what no mitigation keeps from the customer. They are those of this customer alone: a customer inside its
	// space has its own.
	Services      []Service
	MaxRules      int           // quota of the rules of active mitigations; 0: only the safeguards' limits
	Mitigation    Consent       // who may mitigate for the customer
	ManualVectors []Vector      // signals of these are observed only, as all are with ConsentManual
	SelfService   []SelfService // what the customer may do by itself; empty: it looks only
}

// LinkState says how far a link is on its way from carrying customer traffic to joining two routers only.
type LinkState string

// The transition states of a link. All of them are protected alike.
const (
	LinkInUse    LinkState = "in-use"   // the customer uses the link address as source of its traffic
	LinkMoving   LinkState = "moving"   // the customer is changing over to its official space
	LinkClean    LinkState = "clean"    // only the two routers use the addresses
	LinkUnstated LinkState = "unstated" // nobody has said
)

// Link is the point-to-point subnet that attaches a customer. It may lie inside official space; it is never acted on.
type Link struct {
	Prefix    netip.Prefix
	PE        string // provider edge router
	Interface string // on the PE
	Block     string // the ProtectedBlock that the link was taken from, if any
	State     LinkState
}

// BlockKind says what a protected block is for.
type BlockKind string

// The kinds of protected block (design section 1).
const (
	BlockLinks          BlockKind = "link-block"
	BlockInfrastructure BlockKind = "infrastructure"
	BlockCustomerEdge   BlockKind = "customer-edge" // loopbacks that terminate BGP, IPsec, GRE
	BlockIXPLAN         BlockKind = "ixp-lan"
	BlockResolver       BlockKind = "resolver"
	BlockController     BlockKind = "controller"
	BlockDetector       BlockKind = "detector"
)

// ProtectedBlock is space in which no rule ever acts.
type ProtectedBlock struct {
	Name     string
	Kind     BlockKind
	Prefixes []netip.Prefix
	Note     string
}

// Validation says how a router is kept from dropping a central controller's rules (RFC 8955 section 6).
type Validation string

// The ways of validation a router may declare.
const (
	ValidationIBGP9117 Validation = "ibgp-9117"                 // RFC 9117
	ValidationDisabled Validation = "disabled-by-import-policy" // the router's import policy skips validation
)

// Router is one BGP session with a neighbour that enforces rules or blackhole routes. A router that has both has two
// documents, with two addresses.
type Router struct {
	Name           string
	Address        netip.Addr
	Port           uint16 // 0: 179
	ASN            flowspec.ASN
	Group          string // rules name the groups that hear them
	Families       []flowspec.Family
	Validation     Validation
	Profile        string // e.g. "frr", see bgp/profile; empty only for blackholes, and in old logs: nothing is known of the router
	MaxPrefix      int    // the router's own limit; tidegate uses at most 80 % of it
	RulesPerSecond int    // pacing; 0: unpaced
	PasswordSecret string // name of a secret in each node's file, never the secret itself (RFC 2385)
	TTLSecurity    bool   // RFC 5082
	Multihop       uint8
	Carries        wanted.Kind // 0: FlowSpec rules
	// DiscardIPv4 and DiscardIPv6, of a router that carries RTBH, are the next hops that it has a discard route for
	// (RFC 5635 section 3.1). Without one it hears no blackhole of that family.
	DiscardIPv4, DiscardIPv6 netip.Addr
	// AcceptUntested says that the profile may be one without a recorded run.
	AcceptUntested bool
	MaxEntries     int // room for filter entries (TCAM), of which at most 80 % is used; 0: what the profile says
}

// Policy answers signals: those that its selectors and its condition take get its action for its lifetime. An empty
// selector takes all.
type Policy struct {
	Name      string
	Priority  int // higher is asked first; then by name
	Vectors   []Vector
	Customers []CustomerID
	Sources   []string // names of detectors
	Tags      []string // the customer has one of these
	// MinRate, MinPackets and MinConfidence are what the signal must say at least; 0: nothing.
	MinRate       flowspec.BytesPerSecond
	MinPackets    flowspec.PacketsPerSecond
	MinConfidence float64
	// When is a condition in CEL on what ConditionVariables lists; empty: none. It is asked after the selectors, and what
	// has no answer is taken for no.
	When string
	Mode Mode
	// MatchOn names what of the signal narrows the matches; empty: all of it.
	MatchOn        []Hint
	MaxMatches     int // matches for each destination; 0: MaxVariants
	MaxMitigations int // active mitigations of the policy; 0: only the safeguards' limits
	MaxPerHour     int // mitigations that the policy may start within an hour; 0: only the safeguards' limits
	// Aggregate says when many targets are answered by a prefix.
	Aggregate Aggregate
	Quorum    int    // detectors that must report an attack before anything is done; 0 and 1: one
	Action    Action // without a ladder
	// Ladder are the steps, the mildest first: the next one is taken when the attack outlasts one. Empty: Action alone.
	Ladder []Step
	// Quiet is how long a mitigation stays announced after its attack is over; 0: it ends at once.
	Quiet    time.Duration
	Relax    Relax
	Lifetime time.Duration // 0: the safeguards' default
	Groups   []string      // router groups; empty: all
}

// Safeguards bound what any decision may do. There is at most one, named "default"; without it DefaultSafeguards hold.
type Safeguards struct {
	Name            string
	WidestIPv4      uint8 // shortest permitted prefix length of a target
	WidestIPv6      uint8
	MaxPieces       int // destinations of one mitigation after carving (design section 1: 32)
	MaxMitigations  int // active mitigations in all
	DefaultLifetime time.Duration
	MaxLifetime     time.Duration
	// MaxRemovedLinksPercent is the brake: an apply that removes more of the links than this, or half of the links of
	// one customer or more, or any protected space of a block, must state the number.
	MaxRemovedLinksPercent float64
	// ShortestRTBHIPv4 and ShortestRTBHIPv6 are the least lengths of a blackhole route; 0: 32 and 128. MaxRTBHRoutes is how
	// many of them one mitigation may have; 0: 8.
	ShortestRTBHIPv4, ShortestRTBHIPv6 uint8
	MaxRTBHRoutes                      int
	// ApprovalTimeout is how long something waits for a second person; 0: 15 minutes. A start or a step whose BlastRadius is above
	// ApprovalAddresses awaits one, 0: none does; so does a withdrawal of more than ApprovalWithdrawals active mitigations, 0: none
	// does; and an apply that must state a number of removals above ApprovalRemovals, 0: 100.
	ApprovalTimeout     time.Duration
	ApprovalAddresses   int
	ApprovalWithdrawals int
	ApprovalRemovals    int
	// BreakGlassLifetime is how long a mitigation lives at most for which nobody waited for a second person; 0: 15 minutes.
	BreakGlassLifetime time.Duration

	// What follows was added later: zero is what held before, no bound.

	Widest        WidestByAction
	MinConfidence ConfidenceByAction
	MaxRules      int // rules of all active mitigations together
	// OperatorShare is the part of each budget, in percent, that is kept for operators: policies start nothing beyond the
	// rest. SourceShare is the part of that rest that what one detector started may fill.
	OperatorShare, SourceShare float64
	// MaxStartsPerMinute bounds what policies start, and the steps that they take, within a minute in all, and
	// MaxStartsPerMinutePerSource by the signals of one detector. MaxRulesPerMinute bounds the rules of these.
	MaxStartsPerMinute, MaxStartsPerMinutePerSource, MaxRulesPerMinute int
	Quarantine                                                         QuarantineThresholds
}
