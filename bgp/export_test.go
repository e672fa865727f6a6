package bgp

// What an engine is told to do, for Fault.
const (
	Announcing    = workAnnounce
	Withdrawing   = workWithdraw
	Disconnecting = workDisconnect
)

// Fault makes engines fail: f says with which error, although the work itself is done; nil for none.
func (c *Config) Fault(f func(engineWork) error) { c.fault = f }

// Started is closed when the speaker has started what it starts before the first Set.
func (s *Speaker) Started() <-chan struct{} { return s.started }

// SpareEngines changes how many engines are started before the first router, which takes most of a short test's time.
func (c *Config) SpareEngines(n int) { c.spareEngines = n }
