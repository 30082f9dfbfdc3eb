// Package advice lets an error carry a sentence that tells the operator what
// to do. Programs print it on a line of its own, after the error.
package advice

import "errors"

type advised struct {
	error
	advice string
}

func (a *advised) Unwrap() error { return a.error }

// With returns err with the given advice: a sentence in lower case, without a
// full stop. A nil err stays nil.
func With(err error, text string) error {
	if err == nil {
		return nil
	}
	return &advised{err, text}
}

// For returns the outermost advice that err carries, or "".
func For(err error) string {
	var a *advised
	if errors.As(err, &a) {
		return a.advice
	}
	return ""
}
