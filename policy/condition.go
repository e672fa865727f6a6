package policy

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
)

// Bounds of a condition. The cost is cel-go's: about one for each step of the evaluation, of which a microsecond has some
// ten. What could cost more on the largest signal is refused when the document is applied, and stopped when it is asked.
const (
	maxConditionLength = 1000
	maxConditionCost   = 80_000
)

// ConditionVariable is one thing that a condition may speak of.
type ConditionVariable struct {
	Name, Type, Meaning string
	value               func(in *conditionInput) any
}

// ConditionVariables describes what a condition may speak of, in the order in which it is documented.
func ConditionVariables() []ConditionVariable {
	return []ConditionVariable{
		{"signal.source", "string", "the detector", func(in *conditionInput) any { return in.sig.Source }},
		{"signal.kind", "string", "start or update", func(in *conditionInput) any { return kindWord(in.sig.Kind) }},
		{"signal.vector", "string", "the kind of attack", func(in *conditionInput) any { return string(in.sig.Vector) }},
		{"signal.bps", "double", "bits per second", func(in *conditionInput) any { return in.sig.BitsPerSecond }},
		{"signal.pps", "double", "packets per second", func(in *conditionInput) any { return in.sig.PacketsPerSecond }},
		{"signal.confidence", "double", "as this signal states it, 0 to 1; 0: not stated", func(in *conditionInput) any { return in.sig.Confidence }},
		{"attack.confidence", "double", "of all detectors that report it now, weighed with the trust in each", func(in *conditionInput) any {
			return in.sig.confidence
		}},
		{"attack.sources", "int", "how many detectors report it now", func(in *conditionInput) any { return int64(in.sig.sourceCount()) }},
		{"signal.family", "int", "4 or 6", func(in *conditionInput) any {
			if in.sig.Targets[0].Addr().Is4() {
				return int64(4)
			}
			return int64(6)
		}},
		{"signal.targets", "list(string)", "the targets, as prefixes", func(in *conditionInput) any {
			return texts(in.sig.Targets, netip.Prefix.String)
		}},
		{"signal.addresses", "double", "how many addresses the targets have together", func(in *conditionInput) any {
			return addressCount(in.sig.Targets)
		}},
		{"signal.protocols", "list(int)", "IP protocol numbers, as far as the signal names them", func(in *conditionInput) any {
			return texts(in.sig.Protocols, func(n uint8) int64 { return int64(n) })
		}},
		{"customer.id", "string", "whose space the targets are", func(in *conditionInput) any { return string(in.customer.ID) }},
		{"customer.name", "string", "the customer's name", func(in *conditionInput) any { return in.customer.Name }},
		{"customer.within", "string", "id of the customer whose space contains this one's; empty for none", func(in *conditionInput) any {
			return string(in.customer.Within)
		}},
		{"customer.tags", "list(string)", "the customer's tags", func(in *conditionInput) any { return in.customer.Tags }},
		{"customer.active", "int", "active mitigations of the customer", func(in *conditionInput) any {
			return int64(in.s.ActiveCountOf(in.customer.ID))
		}},
	}
}

// texts returns what of makes of each item.
func texts[From, To any](items []From, of func(From) To) []To {
	out := make([]To, len(items))
	for i, v := range items {
		out[i] = of(v)
	}
	return out
}

// condition is the compiled text of a policy's condition. It may be used by several goroutines at once.
type condition struct {
	program cel.Program
	values  map[string]func(*conditionInput) any // by name of the variable
}

// conditionSizes bounds what the variables of a condition may hold, for the estimate of its cost.
type conditionSizes struct{}

// EstimateSize implements cost.Estimator.
func (conditionSizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	most := uint64(0)
	switch path := node.Path(); strings.Join(path, ".") {
	case "signal.targets":
		most = MaxTargets
	case "signal.targets.@items":
		most = 43 // an IPv6 prefix
	case "signal.protocols":
		most = MaxProtocols
	case "customer.tags":
		most = maxTags
	case "customer.tags.@items", "customer.id", "customer.name", "customer.within", "signal.source", "signal.vector", "signal.kind":
		most = maxTextLength
	default:
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// EstimateCallCost implements cost.Estimator: the library's own estimates hold.
func (conditionSizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// conditionEnv is the language of conditions: CEL's own functions and macros over the variables.
func conditionEnv() (*cel.Env, error) {
	kinds := map[string]*cel.Type{
		"string": cel.StringType, "double": cel.DoubleType, "int": cel.IntType,
		"list(string)": cel.ListType(cel.StringType), "list(int)": cel.ListType(cel.IntType),
	}
	opts := []cel.EnvOption{cel.CrossTypeNumericComparisons(true)}
	for _, v := range ConditionVariables() {
		opts = append(opts, cel.Variable(v.Name, kinds[v.Type]))
	}
	return cel.NewEnv(opts...)
}

// compileCondition compiles a text. Its error is a sentence with the place in the text.
func compileCondition(text string) (*condition, error) {
	if len(text) > maxConditionLength {
		return nil, fmt.Errorf("it has %d octets, at most %d are permitted", len(text), maxConditionLength)
	}
	env, err := conditionEnv()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		var said []string
		for _, e := range issues.Errors() {
			said = append(said, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, plainIssue(text, e.Location.Line(), e.Location.Column(), e.Message)))
		}
		return nil, errors.New(strings.Join(said, "; "))
	}
	if out := ast.OutputType(); !out.IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("it says %s, where true or false is asked for", out)
	}
	estimate, err := env.EstimateCost(ast, conditionSizes{})
	if err != nil {
		return nil, err
	}
	if estimate.Max > maxConditionCost {
		return nil, fmt.Errorf("it may cost %d steps on the largest signal, at most %d are permitted", estimate.Max, maxConditionCost)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxConditionCost))
	if err != nil {
		return nil, err
	}
	c := &condition{program: program, values: make(map[string]func(*conditionInput) any)}
	for _, v := range ConditionVariables() {
		c.values[v.Name] = v.value
	}
	return c, nil
}

// plainIssue is what the compiler says of a place in the text, in words that do not need its source to be understood.
func plainIssue(text string, line, column int, message string) string {
	message, _, _ = strings.Cut(message, " expecting {") // what could stand there is half of the language
	message = strings.Replace(message, "Syntax error: mismatched input '<EOF>'", "it ends too early", 1)
	// Of a name below a variable that is none by itself the compiler names the first part only.
	if parent, found := strings.CutPrefix(message, "undeclared reference to '"); found {
		lines, parent := strings.Split(text, "\n"), strings.TrimSuffix(parent, "'")
		if line < 1 || line > len(lines) || column < 0 || column > len(lines[line-1]) || !strings.HasPrefix(lines[line-1][column:], parent+".") {
			return message
		}
		name := lines[line-1][column:]
		if end := strings.IndexFunc(name, func(r rune) bool { return r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }); end >= 0 {
			name = name[:end]
		}
		return "there is no " + name
	}
	if rest, found := strings.CutPrefix(message, "found no matching overload for '"); found {
		operator, operands, _ := strings.Cut(rest, "' applied to ")
		message = fmt.Sprintf("%s does not go with %s", strings.Trim(operator, "_"), strings.Trim(operands, "'"))
		if strings.Contains(operands, "list(") {
			message += `, what is in a list is asked like "'gold' in customer.tags"`
		}
	}
	return message
}

// holds evaluates the condition. An error (a list is shorter than the text takes it to be, the cost limit) says that it
// has no answer; nobody takes that for a yes.
func (c *condition) holds(s *State, sig *sighting, customer *Customer) (bool, error) {
	out, _, err := c.program.Eval(&conditionInput{c, s, sig, customer})
	if err != nil {
		return false, err
	}
	yes, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("it says %v", out.Value())
	}
	return yes, nil
}

// conditionInput answers what a condition asks of a signal and its customer.
type conditionInput struct {
	*condition
	s        *State
	sig      *sighting
	customer *Customer
}

// Parent implements cel.Activation.
func (*conditionInput) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (in *conditionInput) ResolveName(name string) (any, bool) {
	value, ok := in.values[name]
	if !ok {
		return nil, false
	}
	return value(in), true
}

// addressCount is how many addresses the prefixes have, each counted once.
func addressCount(prefixes []netip.Prefix) float64 {
	sum := 0.0
	for _, p := range outermost(prefixes) {
		sum += math.Ldexp(1, p.Addr().BitLen()-p.Bits())
	}
	return sum
}

// kindWord is the word for a kind of signal, as in documents and commands.
func kindWord(k SignalKind) string {
	switch k {
	case SignalStart:
		return "start"
	case SignalUpdate:
		return "update"
	case SignalEnd:
		return "end"
	}
	return "unknown"
}
