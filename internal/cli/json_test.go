package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"l4d2-host/internal/doctor"
)

// printed is what each command with --json prints, or an array of it.
var printed = map[string]reflect.Type{
	"check":      reflect.TypeFor[doctor.Finding](),
	"conflicts":  reflect.TypeFor[conflict](),
	"diff":       reflect.TypeFor[changed](),
	"list":       reflect.TypeFor[listed](),
	"layer list": reflect.TypeFor[listedLayer](),
	"layer show": reflect.TypeFor[shownLayer](),
	"plan":       reflect.TypeFor[planned](),
	"releases":   reflect.TypeFor[listedRelease](),
	"restart":    reflect.TypeFor[rolled](),
	"show":       reflect.TypeFor[shown](),
	"status":     reflect.TypeFor[status](),
	"update":     reflect.TypeFor[updateJSON](),
	"which":      reflect.TypeFor[origin](),
}

// Each key that a program can find is in the manual, in the command's section.
func TestJSONKeysAreDocumented(t *testing.T) {
	manual, err := os.ReadFile("../../packaging/man/l4d2ctl.1.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range New("").Model().Leaves(true) {
		has := false
		for _, flag := range command.Flags {
			has = has || flag.Name == "json"
		}
		name := strings.TrimPrefix(command.FullPath(), program+" ")
		typ := printed[name]
		if has != (typ != nil) {
			t.Errorf("%s: --json is %v, and the test knows %v of it", name, has, typ)
		}
		if !has || typ == nil {
			continue
		}
		section := sectionOf(string(manual), name)
		for other := range printed {
			// "the keys of **list**, and …"
			if strings.Contains(section, "of **"+other+"**") {
				section += sectionOf(string(manual), other)
			}
		}
		for _, key := range jsonKeys(typ) {
			if !strings.Contains(section, "*"+key+"*") {
				t.Errorf("%s: the manual lacks the key *%s*", name, key)
			}
		}
	}
}

func sectionOf(manual, command string) string {
	_, section, _ := strings.Cut(manual, "\n### "+command+"\n")
	if section == "" {
		_, section, _ = strings.Cut(manual, "\n### "+command+" ")
	}
	section, _, _ = strings.Cut(section, "\n### ")
	return section
}

// jsonKeys are the keys of typ, and of the structs in it.
func jsonKeys(typ reflect.Type) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range typ.NumField() {
		field := typ.Field(i)
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && key == "" {
			keys = append(keys, jsonKeys(field.Type)...)
		}
		if key != "" && key != "-" {
			keys = append(append(keys, key), jsonKeys(field.Type)...)
		}
	}
	return keys
}
