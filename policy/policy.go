// Package policy is the domain, pure: whose address space is whose, what is protected, what a signal asks for, what
// a policy answers, and what is announced in consequence. It owns the words Customer, Link, ProtectedBlock, Router,
// Policy, Safeguards, Signal, Mitigation, Verdict, and the immutable State that holds them.
//
// Everything in it is a function of its arguments: no clock, no I/O, no goroutine, no randomness. The leader calls
// Decide to turn a Request into a Decision and a list of Changes; every node applies the same Changes to the same
// State with State.Apply. Nothing that comes out of a State is ever changed.
package policy

import "time"

// Index is the position of an entry in the replicated log.
type Index uint64

// Principal is who asks: the name from the certificate, in the form role/name, e.g. "operator/alice", or of a customer
// customer/CUSTOMER/NAME.
type Principal string

// RequestID is chosen by the caller of a write, so that a repetition is answered and not done twice.
type RequestID string

// ReasonCode is the stable, machine-readable part of a reason, in lower_snake_case. Codes are appended, never reused.
type ReasonCode string

// Reason says why something was decided: a stable code and a sentence that a network engineer understands at 3 a.m.
type Reason struct {
	Code ReasonCode
	Text string
}

// Entry is the head of a log entry: what State.Apply knows besides the changes.
type Entry struct {
	Index     Index
	At        time.Time // leader's time, UTC, never before the entry before
	By        Principal
	Reason    string
	RequestID RequestID // empty for what the leader does by itself
	// Digest is the SHA-256 of the item's octets in the log; zero while a decision is only tried. It is what the audit
	// chain holds on to.
	Digest [32]byte
}
