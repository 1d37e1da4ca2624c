# SPDX-License-Identifier: BSD-2-Clause

# What bench/run runs; tests/net/test_bench.py, too.
check_PROGRAMS += \
	bench/blaster \
	bench/echoload \
	bench/echosrv \
	bench/reflector

bench_blaster_SOURCES = bench/blaster.c bench/common.h bench/tunfd.h
bench_echoload_SOURCES = bench/echoload.c bench/common.h
bench_echosrv_SOURCES = bench/echosrv.c bench/common.h
bench_reflector_SOURCES = bench/reflector.c bench/common.h bench/tunfd.h

# For callgrind: bench/instructions.
check_PROGRAMS += bench/exchange
bench_exchange_SOURCES = bench/exchange.c
bench_exchange_LDFLAGS = $(whole_ldflags)
bench_exchange_LDADD = $(daemon_libs)

EXTRA_DIST += \
	bench/bulk.py \
	bench/instructions \
	bench/measure.py \
	bench/peers.py \
	bench/plot \
	bench/profile \
	bench/run \
	bench/scale.py \
	bench/wall.py \
	tests/net/test_bench.py
