package idpkit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestSurface counts the exported top-level names of the root module, a group
// of constants or variables once, and wants each documented. The limit is what
// one person can hold in the head.
func TestSurface(t *testing.T) {
	t.Parallel()
	const limit = 200
	count := map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(path) {
			case "example", "bench", "internal", "storage/sqlite", "storage/postgres", "storage/redis", "storage/storagetest", ".git":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			for _, name := range exported(decl) {
				if name.topLevel {
					count[filepath.ToSlash(filepath.Dir(path))]++
				}
				if !name.documented {
					t.Errorf("%s: %s has no doc comment", path, name.name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for pkg, n := range count {
		t.Logf("%-24s %d", pkg, n)
		total += n
	}
	t.Logf("%-24s %d", "all", total)
	if total > limit {
		t.Errorf("%d exported top-level names, limit %d", total, limit)
	}
}

type exportedName struct {
	name                 string
	topLevel, documented bool
}

func exported(decl ast.Decl) []exportedName {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() {
			return nil
		}
		if d.Recv != nil && !exportedReceiver(d.Recv) {
			return nil
		}
		return []exportedName{{d.Name.Name, d.Recv == nil, d.Doc != nil}}
	case *ast.GenDecl:
		var names []exportedName
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					names = append(names, exportedName{s.Name.Name, true, d.Doc != nil || s.Doc != nil})
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() {
						documented := d.Doc != nil || s.Doc != nil || s.Comment != nil
						names = append(names, exportedName{n.Name, false, documented})
					}
				}
			}
		}
		if d.Tok == token.CONST || d.Tok == token.VAR {
			if len(names) > 0 {
				names[0].topLevel = true
			}
		}
		return names
	}
	return nil
}

func exportedReceiver(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}
