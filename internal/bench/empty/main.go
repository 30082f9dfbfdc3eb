// Command empty does nothing: it shows what starting a Go program costs.
package main

func main() {}
