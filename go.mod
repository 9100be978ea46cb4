module github.com/idpkit/idpkit

go 1.25.0
