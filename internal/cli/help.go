package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// exampleMark begins the last paragraph of what a command's Help returns.
const exampleMark = "Example: "

// printHelp is kong's help, with the command's example at the end, where the
// eye is when it is done.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	example := ""
	if command := ctx.Selected(); command != nil {
		if i := strings.LastIndex(command.Detail, exampleMark); i >= 0 {
			example = command.Detail[i:]
			command.Detail = strings.TrimSpace(command.Detail[:i])
		}
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil || example == "" {
		return err
	}
	_, err := fmt.Fprintf(ctx.Stdout, "\n%s\n", example)
	return err
}
