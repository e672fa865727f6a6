package bgp

// Started is closed when the speaker has started what it starts before the first Set.
func (s *Speaker) Started() <-chan struct{} { return s.started }

// SpareEngines changes how many engines are started before the first router, which takes most of a short test's time.
func (c *Config) SpareEngines(n int) { c.spareEngines = n }
