/* SPDX-License-Identifier: BSD-2-Clause */
/* The state directory, and the files that are made in places of others. */
#include "base/bytes.h"
#include "base/log.h"
#include "daemon/pcap.h"
#include "daemon/socket.h"
#include "daemon/statedir.h"
#include "unit/daemon/scratch.h"
#include "unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char said[1024];

static void sink(void *ctx, enum log_level level, const char *line,
		 const struct log_field *fields, size_t nfields)
{
	(void)ctx;
	(void)level;
	(void)fields;
	(void)nfields;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	scratch_setup();
	said[0] = '\0';
	log_set_sink(sink, NULL);
}

static void teardown(void)
{
	log_set_sink(NULL, NULL);
	scratch_teardown();
}

static char *path_of(const char *name, char path[128])
{
	snprintf(path, 128, "%s", scratch_path(name));
	return path;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	return st.st_mode & 07777u;
}

static void make(const char *path, mode_t mode)
{
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(test_a_new_directory_can_be_passed_but_not_listed)
{
	mode_t mask = umask(0077);
	char path[128];

	ck_assert_int_eq(statedir_prepare(path_of("state", path)), 0);
	umask(mask);
	ck_assert_uint_eq(mode_of(path), 0711);
	ck_assert_int_eq(statedir_prepare(path), 0);
}
END_TEST

/* Who may write may plant an arena: a clear line, and the mode is as it was. */
START_TEST(test_a_directory_that_others_write_to_is_refused)
{
	static const mode_t modes[] = { 0720, 0702, 0777, 01777 };
	char path[128];

	path_of("state", path);
	make(path, modes[_i]);
	ck_assert_int_eq(statedir_prepare(path), -EPERM);
	ck_assert_ptr_nonnull(strstr(said, "chmod go-w"));
	ck_assert_ptr_nonnull(strstr(said, path));
	ck_assert_uint_eq(mode_of(path), modes[_i]);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_int_eq(statedir_prepare(path), 0);
}
END_TEST

START_TEST(test_a_directory_in_one_that_others_write_to_is_refused)
{
	char path[128];

	make(path_of("open", path), 0777);
	make(path_of("open/state", path), 0700);
	ck_assert_int_eq(statedir_prepare(path), -EPERM);
	ck_assert_ptr_nonnull(strstr(said, "/open can be written"));
	/* in a sticky one nobody else can put another in its place */
	ck_assert_int_eq(chmod(scratch_path("open"), 01777), 0);
	ck_assert_int_eq(statedir_prepare(path), 0);
}
END_TEST

START_TEST(test_a_directory_of_somebody_else_is_refused)
{
	char path[128];

	if (geteuid() != 0)
		return; /* nobody else's can be made */
	make(path_of("state", path), 0700);
	ck_assert_int_eq(chown(path, 12345, (gid_t)-1), 0);
	ck_assert_int_eq(statedir_prepare(path), -EPERM);
	ck_assert_ptr_nonnull(strstr(said, "uid 12345"));
}
END_TEST

START_TEST(test_what_a_link_leads_to_is_what_is_checked)
{
	char path[128], link[128];

	make(path_of("open", path), 0777);
	ck_assert_int_eq(symlink(path, path_of("state", link)), 0);
	ck_assert_int_eq(statedir_prepare(link), -EPERM);
	ck_assert_int_eq(chmod(path, 0700), 0);
	ck_assert_int_eq(statedir_prepare(link), 0);
}
END_TEST

START_TEST(test_a_file_is_no_directory)
{
	char path[128];

	strcpy(path, scratch_write("state", "x", 1));
	ck_assert_int_eq(statedir_prepare(path), -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(said, "choose another path"));
}
END_TEST

START_TEST(test_lock_is_one_processs_and_ours_to_read)
{
	int fd = statedir_lock(scratch_dir);

	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(mode_of(scratch_path("lock")), 0600);
	ck_assert_int_eq(statedir_lock(scratch_dir), -EBUSY);
	close(fd);
	fd = statedir_lock(scratch_dir);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

START_TEST(test_lock_does_not_follow_a_link)
{
	char path[128], lock[128];

	path_of("other", path);
	ck_assert_int_eq(symlink(path, path_of("lock", lock)), 0);
	ck_assert_int_eq(statedir_lock(scratch_dir), -ELOOP);
	ck_assert_int_lt(access(path, F_OK), 0);
}
END_TEST

/* --- sockets ----------------------------------------------------------- */

static struct conf_socket socket_conf(const char *name, mode_t mode)
{
	struct conf_socket conf = { .mode = mode, .gid = (gid_t)-1 };

	snprintf(conf.path, sizeof(conf.path), "%s", scratch_path(name));
	return conf;
}

START_TEST(test_socket_has_its_mode_and_group_whatever_the_umask)
{
	struct conf_socket conf = socket_conf("x.sock", 0666);
	mode_t mask = umask(0077);
	struct stat st;
	int fd;

	conf.gid = geteuid() == 0 ? 54321 : getegid();
	fd = socket_listen(&conf);
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(umask(mask), 0077);
	ck_assert_int_eq(lstat(conf.path, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFSOCK | 0666);
	ck_assert_uint_eq(st.st_gid, conf.gid);
	close(fd);
}
END_TEST

START_TEST(test_socket_does_not_take_the_place_of_a_link_or_a_file)
{
	struct conf_socket conf = socket_conf("x.sock", 0666);
	char path[128];

	strcpy(path, scratch_write("victim", "x", 1));
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(symlink(path, conf.path), 0);
	ck_assert_int_eq(socket_listen(&conf), -EEXIST);
	ck_assert_int_eq(unlink(conf.path), 0);
	scratch_write("x.sock", "x", 1);
	ck_assert_int_eq(socket_listen(&conf), -EEXIST);
	ck_assert_uint_eq(mode_of(path), 0600);
}
END_TEST

/* --- capture files ----------------------------------------------------- */

START_TEST(test_capture_file_is_ours_alone_also_when_it_was_there)
{
	struct pcap *p;
	char path[128];

	strcpy(path,
	       scratch_write("a.pcap", "older, and longer than a header", 31));
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_int_eq(pcap_open(&p, path, 0), 0);
	pcap_close(p);
	ck_assert_uint_eq(mode_of(path), 0600);
}
END_TEST

START_TEST(test_capture_file_is_not_somebody_elses_nor_a_link)
{
	char path[128], other[128];
	struct pcap *p;

	strcpy(other, scratch_write("other", "x", 1));
	ck_assert_int_eq(symlink(other, path_of("a.pcap", path)), 0);
	ck_assert_int_eq(pcap_open(&p, path, 0), -ELOOP);
	if (geteuid() != 0)
		return; /* nobody else's can be made */
	ck_assert_int_eq(chown(other, 12345, (gid_t)-1), 0);
	ck_assert_int_eq(pcap_open(&p, other, 0), -EPERM);
}
END_TEST

UNIT_MAIN("daemon/statedir",
	  UNIT_CASE("directory", setup, teardown,
		    test_a_new_directory_can_be_passed_but_not_listed,
		    test_a_directory_in_one_that_others_write_to_is_refused,
		    test_a_directory_of_somebody_else_is_refused,
		    test_what_a_link_leads_to_is_what_is_checked,
		    test_a_file_is_no_directory,
		    test_lock_is_one_processs_and_ours_to_read,
		    test_lock_does_not_follow_a_link),
	  UNIT_LOOP("modes", 4, setup, teardown,
		    test_a_directory_that_others_write_to_is_refused),
	  UNIT_CASE("sockets", setup, teardown,
		    test_socket_has_its_mode_and_group_whatever_the_umask,
		    test_socket_does_not_take_the_place_of_a_link_or_a_file),
	  UNIT_CASE("captures", setup, teardown,
		    test_capture_file_is_ours_alone_also_when_it_was_there,
		    test_capture_file_is_not_somebody_elses_nor_a_link))
