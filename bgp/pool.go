package bgp

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
)

// defaultSpareEngines is how many engines are started before the first router: GoBGP writes two of its package variables
// whenever a server starts, always with the same values, and other servers read them. Taking from a stock keeps
// starts away from running sessions; only more routers than this make one start later.
const defaultSpareEngines = 4

// enginePool owns every engine of a Speaker.
type enginePool struct {
	cfg Config
	log *slog.Logger

	started atomic.Uint64 // engines, ever

	mu   sync.Mutex // guards all and free
	all  map[*engine]bool
	free []*engine
}

// newEnginePool starts the stock.
func newEnginePool(ctx context.Context, cfg Config, log *slog.Logger) (*enginePool, error) {
	p := &enginePool{cfg: cfg, log: log, all: make(map[*engine]bool)}
	for range cfg.spareEngines {
		e, err := p.start(ctx)
		if err != nil {
			p.stop()
			return nil, err
		}
		p.put(e)
	}
	return p, nil
}

func (p *enginePool) start(ctx context.Context) (*engine, error) {
	e, err := startEngine(ctx, strconv.FormatUint(p.started.Add(1), 10), p.cfg, p.log)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.all[e] = true
	p.mu.Unlock()
	return e, nil
}

// get returns an engine with an empty table and no neighbour.
func (p *enginePool) get(ctx context.Context) (*engine, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return e, nil
	}
	p.mu.Unlock()
	return p.start(ctx)
}

// put takes back an engine with an empty table and no neighbour.
func (p *enginePool) put(e *engine) {
	p.mu.Lock()
	p.free = append(p.free, e)
	p.mu.Unlock()
}

// discard ends an engine that is not fit to be used again.
func (p *enginePool) discard(e *engine) {
	p.mu.Lock()
	delete(p.all, e)
	p.mu.Unlock()
	e.stop()
}

// stop ends all engines and returns when they are down. Nobody may use the pool any more.
func (p *enginePool) stop() {
	var wg sync.WaitGroup
	for e := range p.all {
		wg.Go(e.stop)
	}
	wg.Wait()
}
