package idpkit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shownBy names the example of a verb that has none of its own name. The
// example calls the verb, which the test looks for.
var shownBy = map[string]map[string]string{
	"handlers": {
		"Provider.Handler":             "ExampleNew",
		"Provider.Discovery":           "ExampleProvider_Token",
		"Provider.JWKS":                "ExampleProvider_Token",
		"Provider.PAR":                 "ExampleProvider_Token",
		"Provider.UserInfo":            "ExampleProvider_Token",
		"Provider.Introspect":          "ExampleProvider_Token",
		"Provider.Revoke":              "ExampleProvider_Token",
		"Provider.DeviceAuthorization": "ExampleProvider_Token",
		"Provider.Authorize":           "ExampleProvider_Token",
		"Provider.LoginPage":           "ExampleProvider_Token",
		"Provider.AccountPage":         "ExampleProvider_Token",
		"Provider.ConsentPage":         "ExampleProvider_Token",
		"Provider.DevicePage":          "ExampleProvider_Token",
		"Provider.EndSessionEndpoint":  "ExampleProvider_Token",
		"Provider.Fail":                "ExampleProvider_Interaction",
		"Provider.Grants":              "ExampleGrants_Revoke",
		"Grants.List":                  "ExampleGrants_Revoke",
		"Interaction.CSRF":             "ExampleProvider_Interaction",
		"Interaction.FormAction":       "ExampleProvider_Interaction",
		"Interaction.Login":            "ExampleProvider_Interaction",
		"Interaction.Try":              "ExampleProvider_Interaction",
		"Interaction.Failed":           "ExampleProvider_Interaction",
		"Interaction.CSRFToken":        "ExampleInteraction_MarshalJSON",
		"Interaction.CanRemember":      "ExampleInteraction_Approve",
		"Interaction.Register":         "ExampleInteraction_Choose",
		"Error.Status":                 "ExampleError",
	},
	"middleware": {
		"HSTS":               "ExampleChain",
		"SecurityHeaders":    "ExampleChain",
		"NoStore":            "ExampleChain",
		"RemoteAddr":         "ExampleEdge_Wrap",
		"ClientCert":         "ExampleEdge_Wrap",
		"RequestID":          "ExampleLog",
		"NewBuckets":         "ExampleRateLimit",
		"Buckets.Allow":      "ExampleBuckets_Undo",
		"PrincipalFrom":      "ExampleProtect",
		"Principal.ByClient": "ExampleProtect",
	},
	"clientreg": {
		"Cached":                            "ExampleChain",
		"Client.AllowsScope":                "ExampleClient",
		"Client.AuthMethod":                 "ExampleNewSecret",
		"Client.Clone":                      "ExampleStored",
		"Client.HasGrantType":               "ExampleClient",
		"Client.HasResponseType":            "ExampleClient",
		"Client.LocalizedName":              "ExampleClient",
		"Client.MatchPostLogoutRedirectURI": "ExampleClient",
		"Client.MatchRedirectURI":           "ExampleClient",
		"Client.Native":                     "ExampleClient",
		"Client.Public":                     "ExampleClient",
		"Client.ScopeList":                  "ExampleClient",
	},
	"clientreg/clientregtest": {},
	"handlers/handlerstest": {
		"NewBrowser":              "ExampleRP_SignIn",
		"Browser.Do":              "ExampleServeApp",
		"Browser.Follow":          "ExampleBrowser_Fetch",
		"Browser.Forge":           "ExampleRP_CodeRequest",
		"Browser.Get":             "ExampleRP_CodeRequest",
		"Browser.In":              "ExampleRP_Refresh",
		"Browser.Request":         "ExampleServeApp",
		"Browser.Send":            "ExampleServeApp",
		"Browser.SignIn":          "ExampleRP_Finish",
		"Browser.Submit":          "ExampleRP_Finish",
		"NewClock":                "ExampleClock",
		"Clock.Advance":           "ExampleClock",
		"Clock.Now":               "ExampleClock",
		"Device.Poll":             "ExampleRP_Connect",
		"Page.Decode":             "ExampleBrowser_Fetch",
		"Page.Err":                "ExampleRP_CodeRequest",
		"Page.Form":               "ExampleRP_CodeRequest",
		"Page.JSON":               "ExampleServeApp",
		"Page.Member":             "ExampleServeApp",
		"Page.Want":               "ExampleRP_Finish",
		"NewRP":                   "ExampleRP_SignIn",
		"RP.Answer":               "ExampleRP_CodeRequest",
		"RP.AuthorizationRequest": "ExamplePage_WantError",
		"RP.AuthorizationURL":     "ExampleRP_CodeRequest",
		"RP.Begin":                "ExampleRP_Finish",
		"RP.Call":                 "ExampleClock",
		"RP.Device":               "ExampleRP_Connect",
		"RP.In":                   "ExampleRP_Refresh",
		"RP.Introspect":           "ExampleRP_Refresh",
		"RP.LogOut":               "ExampleRP_Refresh",
		"RP.Post":                 "ExamplePage_WantError",
		"RP.Revoke":               "ExampleRP_Refresh",
		"RP.Tokens":               "ExampleRP_CodeRequest",
		"RP.UserInfo":             "ExampleRP_SignIn",
		"RP.WantError":            "ExampleRP_Finish",
		"At":                      "ExampleRP_ClientCredentials",
		"Serve":                   "ExampleRP_SignIn",
		"Server.Metadata":         "ExampleServeApp",
		"User.Users":              "ExampleRP_CodeRequest",
		"RefreshRequest":          "ExampleRP_Refresh",
	},
	"storage": {
		"Insert":         "ExampleConsume",
		"Delete":         "ExampleUpdate",
		"Op.Apply":       "ExampleOp_Judge",
		"Query.Validate": "ExampleQuery_Matches",
		"Record.Clone":   "ExampleUpdate",
	},
	"storage/memory": {
		"Storage.Commit": "ExampleNew",
		"Storage.Find":   "ExampleNew",
		"Storage.Get":    "ExampleNew",
		"Storage.Purge":  "ExampleNew",
	},
	"storage/sqlite": {
		"BusyTimeout":    "ExampleOpen",
		"Readers":        "ExampleOpen",
		"Storage.Close":  "ExampleOpen",
		"Storage.Commit": "ExampleOpen",
		"Storage.Find":   "ExampleOpen",
		"Storage.Get":    "ExampleOpen",
		"Storage.Purge":  "ExampleOpen",
	},
	"storage/storagetest": {
		"Rounds":              "ExampleRun",
		"Racers":              "ExampleRun",
		"EnginePurges":        "ExampleRun",
		"Less":                "ExampleRun",
		"Fixed":               "ExampleRandom",
		"Fail":                "ExampleFault",
		"CommitThenError":     "ExampleFault",
		"CommitThenRetry":     "ExampleFault",
		"CommitThenHang":      "ExampleFault",
		"CommitThenPanic":     "ExampleFault",
		"Hang":                "ExampleFault",
		"Skip":                "ExampleFault",
		"Delay":               "ExampleCancelMid",
		"FlakyStorage.Get":    "ExampleFlaky",
		"FlakyStorage.Commit": "ExampleFlaky",
		"FlakyStorage.Count":  "ExampleFlaky",
		"FlakyStorage.Calls":  "ExampleFlakyStorage_Arm",
	},
}

// noExample says why a verb needs none.
var noExample = map[string]string{
	"handlers.ConsentFunc.ServeConsent":      "the kit calls it",
	"storage/storagetest.FlakyStorage.Find":  "as Get",
	"storage/storagetest.FlakyStorage.Purge": "as Get",
}

// methods of the standard library's interfaces, which nobody calls by name.
var standard = []string{"Error", "Unwrap", "Is", "String", "UnmarshalJSON", "MarshalJSON"}

// TestVerbsHaveExamples: every exported function and method has an example of
// its own name or is called in the one that shownBy names. An example that runs
// says what it prints.
func TestVerbsHaveExamples(t *testing.T) {
	t.Parallel()
	for _, dir := range slices.Sorted(maps.Keys(shownBy)) {
		verbs, examples := verbsOf(t, dir)
		for _, v := range verbs {
			if slices.Contains(standard, v[strings.LastIndex(v, ".")+1:]) {
				continue
			}
			by, listed := shownBy[dir][v]
			_, excused := noExample[dir+"."+v]
			own := examples["Example"+strings.ReplaceAll(v, ".", "_")] != nil
			switch name := v[strings.LastIndex(v, ".")+1:]; {
			case own && (listed || excused):
				t.Errorf("%s: %s has an example of its own: take it off the list", dir, v)
			case listed && !examples[by][name]:
				t.Errorf("%s: %s does not call %s", dir, by, v)
			case !own && !listed && !excused:
				t.Errorf("%s: %s has no example", dir, v)
			}
		}
		for v := range shownBy[dir] {
			if !slices.Contains(verbs, v) {
				t.Errorf("%s: %s is on the list and not there", dir, v)
			}
		}
	}
	for v, why := range noExample {
		i := strings.LastIndex(v, "/") + 1
		dir, rest, _ := strings.Cut(v[i:], ".")
		if verbs, _ := verbsOf(t, v[:i]+dir); !slices.Contains(verbs, rest) || why == "" {
			t.Errorf("%s is excused and not there", v)
		}
	}
}

// verbsOf returns a package's exported functions and methods of exported types,
// and its examples, each with the names that it uses.
func verbsOf(t *testing.T, dir string) (verbs []string, examples map[string]map[string]bool) {
	t.Helper()
	examples = map[string]map[string]bool{}
	files, err := filepath.Glob(filepath.FromSlash(dir) + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			switch {
			case !ok:
			case strings.HasSuffix(path, "_test.go"):
				if fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example") {
					examples[fn.Name.Name] = used(fn)
					if !says(file, fn) {
						t.Errorf("%s: %s has no Output and does not run", path, fn.Name.Name)
					}
				}
			case !fn.Name.IsExported():
			case fn.Recv == nil:
				verbs = append(verbs, fn.Name.Name)
			case exportedReceiver(fn.Recv):
				verbs = append(verbs, receiver(fn.Recv)+"."+fn.Name.Name)
			}
		}
	}
	return verbs, examples
}

// says tells whether an example has its Output.
func says(file *ast.File, fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(file.Comments, func(c *ast.CommentGroup) bool {
		return c.Pos() > fn.Pos() && c.End() < fn.End() && strings.HasPrefix(c.Text(), "Output:")
	})
}

// used is every selector in a function.
func used(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			names[s.Sel.Name] = true
		}
		return true
	})
	return names
}

func receiver(recv *ast.FieldList) string {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	return typ.(*ast.Ident).Name
}
