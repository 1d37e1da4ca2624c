/* SPDX-License-Identifier: BSD-2-Clause */
/* What clients do that is legal, old, or merely seen: it must work. */
#include <string.h>

#include "../unit.h"
#include "rig.h"

static void up(void)
{
	rig_up();
}

static void down(void)
{
	rig_down();
}

START_TEST(test_x)
{
}
END_TEST
UNIT_MAIN("stack/tolerance", UNIT_CASE("a", up, down, test_x))
