/* SPDX-License-Identifier: BSD-2-Clause */
/* Each key of the configuration, with a value of a type that is not its own. */
#include <inttypes.h>
#include <stdarg.h>

#include "daemon/conf.h"
#include "daemon/conf_keys.h"
#include "daemon/conf_load.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

static char reported[65536];

static void collect(void *arg, const char *line)
{
	(void)arg;
	ck_assert_uint_lt(strlen(reported) + strlen(line) + 2,
			  sizeof(reported));
	strcat(reported, line);
	strcat(reported, "\n");
}

static char text[1024];
static size_t text_len;

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_len += (size_t)vsnprintf(text + text_len, sizeof(text) - text_len,
				      fmt, ap);
	va_end(ap);
	ck_assert_uint_lt(text_len, sizeof(text));
}

/* What each section must have, but for the key that is tried. */
static void say_rest(const struct conf_key *key, enum conf_section sec)
{
	if (sec == CONF_SEC_TUN &&
	    !(key->section == sec && strcmp(key->name, "vip") == 0))
		say("vip = {\"192.0.2.10\"}\n");
	if (sec == CONF_SEC_LISTEN &&
	    !(key->section == sec && strcmp(key->name, "address") == 0))
		say("address = \"192.0.2.20\"\n");
	if (sec == CONF_SEC_LISTEN &&
	    !(key->section == sec && strcmp(key->name, "port") == 0))
		say("port = 80\n");
	if (sec == CONF_SEC_GROUP &&
	    !(key->section == sec && strcmp(key->name, "port") == 0))
		say("port = 80\n");
	if (sec == CONF_SEC_BACKEND &&
	    !(key->section == sec && strcmp(key->name, "address") == 0))
		say("address = \"unix:/b\"\n");
}

/* The key stands alone in line 2 of its section. */
static void say_section(const struct conf_key *key, enum conf_section sec,
			const char *begin, const char *value)
{
	if (sec == CONF_SEC_METRICS && key->section != sec)
		return;
	say("%s", begin);
	if (key->section == sec)
		say("%s = %s\n", key->name, value);
	say_rest(key, sec);
}

static void say_all(const struct conf_key *key, const char *value)
{
	text_len = 0;
	say_section(key, CONF_SEC_TOP, "", value);
	say_section(key, CONF_SEC_TUN, "tun \"t\" {\n", value);
	say_section(key, CONF_SEC_LISTEN, "}\nlisten \"e\" {\n", value);
	say_section(key, CONF_SEC_CONTROL, "}\ncontrol {\n", value);
	say_section(key, CONF_SEC_ATTACH, "}\nattach {\n", value);
	say_section(key, CONF_SEC_METRICS, "}\nmetrics {\n", value);
	say_section(key, CONF_SEC_POOL, "}\npool \"p\" {\n", value);
	say_section(key, CONF_SEC_GROUP, "group \"g\" {\n", value);
	say_section(key, CONF_SEC_BACKEND, "backend \"b\" {\n", value);
	say("}\n}\n}\n");
}

static unsigned int line_of(const char *what)
{
	const char *at = strstr(text, what);
	unsigned int line = 1;

	ck_assert_ptr_nonnull(at);
	for (const char *p = text; p < at; p++)
		line += *p == '\n';
	return line;
}

/* What it may be, where a range says it. */
static void range_of(const struct conf_key *key, char *buf, size_t size)
{
	char lo[32], hi[32];

	buf[0] = '\0';
	switch (key->type) {
	case CONF_T_U16:
	case CONF_T_U32:
	case CONF_T_I32:
		snprintf(buf, size, "%" PRId64 " to %" PRId64, key->min,
			 key->max);
		break;
	case CONF_T_SIZE:
	case CONF_T_ACK_WINDOW:
		conf_print_size((uint64_t)key->min, lo, sizeof(lo));
		conf_print_size((uint64_t)key->max, hi, sizeof(hi));
		snprintf(buf, size, "%s to %s bytes", lo, hi);
		break;
	default:
		break;
	}
}

START_TEST(test_conf_value_of_another_type_is_refused_with_place_and_range)
{
	const struct conf_key *key = &conf_keys[_i];
	const char *value = key->type == CONF_T_BOOL	? "7"
			    : key->type == CONF_T_LINKS ? "a/b"
							: "true";
	char place[256], said[64], range[96], entry[64];

	say_all(key, value);
	snprintf(entry, sizeof(entry), "%s = %s\n", key->name, value);
	snprintf(place, sizeof(place), "%s:%u: %s: ", scratch_path("x.conf"),
		 line_of(entry), key->name);
	snprintf(said, sizeof(said), "\"%s\"", value);
	range_of(key, range, sizeof(range));
	reported[0] = '\0';
	ck_assert_ptr_null(conf_load(scratch_write("x.conf", text, text_len),
				     collect, NULL));
	ck_assert_msg(strncmp(reported, place, strlen(place)) == 0, "%s",
		      reported);
	ck_assert_msg(strstr(reported, said) && strstr(reported, range), "%s",
		      reported);
	/* One thing is wrong, and one is said. */
	ck_assert_ptr_eq(strchr(reported, '\n') + 1,
			 reported + strlen(reported));
}
END_TEST

UNIT_MAIN(
	"daemon/conf_types",
	UNIT_LOOP(
		"types", (int)conf_n_keys, scratch_setup, scratch_teardown,
		test_conf_value_of_another_type_is_refused_with_place_and_range))
