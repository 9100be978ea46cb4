//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"runtime"
	"time"
)

var errLinux = errors.New("the benchmark reads CPU time and binds processes to CPUs as Linux does; there is no other way in it")

func cpuTime(int) (time.Duration, error) { return 0, errLinux }
func rss(int) (int64, error)             { return 0, errLinux }
func pinSelf(int) error                  { return errLinux }
func startOn(int, *exec.Cmd) error       { return errLinux }
func allowedCPUs() ([]int, error)        { return nil, errLinux }
func machine() string                    { return runtime.GOOS + ", " + runtime.Version() }
