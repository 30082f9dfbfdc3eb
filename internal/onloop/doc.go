// Package onloop tests what mounts on file systems of its own, each in a file
// behind a loop device. It is apart because the machines that run the tests of
// these packages under other kernels have neither.
package onloop
