package node

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/gateway"
	"github.com/tidegate/tidegate/api/webhook"
)

// REST is the API over HTTPS and JSON. Without a listen address there is none.
type REST struct {
	Listen   string // host:port
	Webhooks []Webhook
}

// Webhook is a webhook and the name of its secret among Config.Secrets; Hook.Secret is filled in when the node starts.
type Webhook struct {
	webhook.Hook
	SecretName string
}

// readREST reads the section of that name.
func readREST(s *section, secrets map[string]string) REST {
	sub, ok := s.sub("rest")
	if !ok {
		return REST{}
	}
	r := REST{Listen: sub.address("listen", DefaultREST)}
	names, used := map[string]bool{}, map[string]string{}
	for _, one := range sub.list("webhooks") {
		w := readWebhook(one, secrets)
		if names[w.Name] && w.Name != "" {
			one.bad("name", "%q is also that of another webhook", w.Name)
		}
		names[w.Name] = true
		// Whoever knows the secret of one webhook could otherwise replay what is sent there to another.
		if other, twice := used[w.SecretName]; twice && w.SecretName != "" {
			one.bad("secret", "%q is also the secret of webhook %s; give each its own", w.SecretName, other)
		}
		used[w.SecretName] = w.Name
		r.Webhooks = append(r.Webhooks, w)
	}
	sub.done()
	return r
}

func readWebhook(s *section, secrets map[string]string) Webhook {
	w := Webhook{
		Hook: webhook.Hook{
			Name: s.name("name"), Kind: webhook.Kind(s.text("kind")), Source: s.name("source"), Proof: webhook.Proof(s.text("auth")), Each: s.text("each"),
		},
		SecretName: s.text("secret"),
	}
	if text := s.text("per_second"); text != "" {
		var err error
		if w.PerSecond, err = strconv.ParseFloat(text, 64); err != nil || w.PerSecond <= 0 {
			s.bad("per_second", "%q is not a number of requests", text)
			w.PerSecond = 0
		}
	}
	if m, ok := s.sub("map"); ok {
		w.Map = map[string]string{}
		for _, key := range m.rest() {
			w.Map[key] = m.text(key)
		}
	}
	_, there := secrets[w.SecretName]
	switch {
	case w.Proof == webhook.Certificate && w.SecretName != "":
		s.bad("secret", "has no meaning with auth: certificate; leave it out")
	case w.Proof == webhook.Certificate:
	case w.SecretName == "":
		s.bad("secret", "is missing; write the name of one of the secrets")
	case !there:
		s.bad("secret", "%q is not one of the secrets of this file", w.SecretName)
	}
	for _, p := range webhook.Check(w.Hook) {
		if p.Key != "source" { // name has said it
			s.bad(p.Key, "%s", p.Text)
		}
	}
	s.done()
	return w
}

// rest is the gateway and its webhooks, which run after the API and stop before it.
func (w *wiring) rest(server *api.Server) (part, error) {
	cfg := w.n.cfg
	hooks, err := w.n.hooks()
	if err != nil {
		return part{}, err
	}
	h, err := webhook.New(webhook.Config{Cluster: cfg.Cluster.Name, Hooks: hooks},
		webhook.Deps{Inside: server.Inside(), Logger: w.n.log.With("part", "webhook"), Registerer: w.registry})
	if err != nil {
		return part{}, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	g, err := gateway.New(gateway.Config{}, gateway.Deps{Inside: server.Inside(), Logger: w.n.log.With("part", "rest"), Webhooks: h})
	if err != nil {
		return part{}, err
	}
	return part{"rest", func(ctx context.Context) error {
		defer h.Close()
		return g.Serve(ctx, w.restListener, w.keys.Gateway())
	}}, nil
}

// hooks are the webhooks with their secrets.
func (n *Node) hooks() ([]webhook.Hook, error) {
	var out []webhook.Hook
	for _, w := range n.cfg.REST.Webhooks {
		if w.SecretName != "" {
			secret, ok := n.secret(w.SecretName)
			if !ok {
				return nil, fmt.Errorf("%w: webhook %q has none", ErrSecret, w.Name)
			}
			w.Secret = secret
		}
		out = append(out, w.Hook)
	}
	return out, nil
}

// addressOf is where l listens; empty for none.
func addressOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}
