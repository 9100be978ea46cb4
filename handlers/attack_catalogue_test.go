package handlers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// attackCases are the cases of the attack catalogue that this release answers.
const attackCases = `
D01 D02 D04 D05 D06 D07 D08 D09 D11 D12 D14 D15 D17
A01 A02 A03 A04 A05 A07 A08 A09 A10 A11 A14 A16 A17 A19 A21 A22 A23 A24 A26 A31 A34 A35 A36 A41 A42 A43 A46 A48 A50 A51 A52 A53 A54 A55
A56 A57 A58 A59 A62 A63 A67 A71 A73 A75 A76 A77 A78 A79 A80 A81 A82 A83 A84 A85 A86 A88 A89 A91 A93 A96 A97 A98
B01 B02 B03 B04 B05 B06 B08 B09 B13 B15 B17 B23
O01 O02 O04 O05 O06 O07 O08 O09 O15 O16 O17
P01 P02 P03 P04 P05 P06 P07 P08 P10 P11 P12 P13 P14 P16
T01 T02 T03 T04 T05 T07 T08 T13 T14 T16 T17 T19 T20 T21 T23 T25 T26 T27 T28 T29 T30 T31 T32 T33 T37 T38 T39 T41 T42 T44 T45 T47 T48 T51
T52 T53 T54
F01 F02 F03 F04 F05 F06 F07 F08 F11 F14 F15
K01 K02 K03 K05 K06
U01 U02 U03 U04 U05 U06 U07 U08 U10 U11
L01 L02 L03 L04 L05 L06 L08
R01 R02 R03 R04 R07
V01 V02 V03 V04 V05 V06 V07 V08 V09 V10 V11 V12 V14 V15 V18 V19 V20
J01 J02 J03 J04 J06 J07 J08 J09 J11 J14 J16 J18 J19 J21 J24 J25 J27 J29
H01 H02 H04 H06 H09 H10 H11 H13 H14`

// TestEveryAttackHasATest: each case is named by a test, or SECURITY.md says
// why it is not there.
func TestEveryAttackHasATest(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	id := regexp.MustCompile(`\b[A-Z]\d\d\b`)
	for _, f := range files {
		if f == "attack_catalogue_test.go" {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(src)) { // names of tests, and strings that name subtests
			if rest, ok := strings.CutPrefix(line, "func TestAttack"); ok || strings.Contains(line, `"`) {
				for _, m := range id.FindAllString(strings.ReplaceAll(rest, "_", " "), -1) {
					named[m] = true
				}
			}
		}
	}
	security, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Fields(attackCases) {
		if !named[c] && !strings.Contains(string(security), c) {
			t.Errorf("%s has no test, and SECURITY.md does not say why", c)
		}
	}
}
