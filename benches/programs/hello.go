// The least that a Go program prints.
package main

import "os"

func main() { os.Stdout.WriteString("hello\n") }
