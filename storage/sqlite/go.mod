module github.com/idpkit/idpkit/storage/sqlite

go 1.26.0

require github.com/idpkit/idpkit v0.0.0

replace github.com/idpkit/idpkit => ../..
