package bgp

import "errors"

// Errors of New, Set and Run, for errors.Is.
var (
	ErrConfig         = errors.New("speaker configuration is not usable")
	ErrUnset          = errors.New("set has no revision")
	ErrStale          = errors.New("set is older than the one in force")
	ErrInvalidSet     = errors.New("set is not valid")
	ErrAlreadyRan     = errors.New("speaker has already run")
	ErrStopped        = errors.New("speaker has stopped")
	ErrGuardToothless = errors.New("guard lets a synthetic violation pass")
)
