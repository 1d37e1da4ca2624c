/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/nft.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"

/* Tables of ours that are looked for: three per device name that there was. */
#define NFT_FOUND_MAX 32u
#define NFT_REPLY_BYTES 32768
/* The kernel answers at once; so a lost answer is an error, not a hang. */
#define NFT_ANSWER_S 10

struct nft {
	struct mnl_socket *sock;
	uint32_t seq, port;
	_Alignas(struct nlmsghdr) char reply[NFT_REPLY_BYTES];
	_Alignas(struct nlmsghdr) char batch[NFT_BATCH_BYTES];
};

/* A table that is there. */
struct nft_table {
	uint8_t family;
	char name[NFT_NAME_MAX];
};

struct nft_tables {
	const char *comment; /* wanted ones have it */
	struct nft_table found[NFT_FOUND_MAX];
	uint32_t n;
	/* The one that is being read. */
	struct nft_table now;
	bool ours;
};

/* --- the socket -------------------------------------------------------- */

/* Whether the kernel says that the socket is in another network namespace. */
static bool nft_is_elsewhere(int fd)
{
	struct stat its, ours;
	int ns = ioctl(fd, SIOCGSKNS);
	bool elsewhere;

	if (ns < 0)
		return false;
	elsewhere = fstat(ns, &its) == 0 &&
		    stat("/proc/self/ns/net", &ours) == 0 &&
		    (its.st_dev != ours.st_dev || its.st_ino != ours.st_ino);
	close(ns);
	return elsewhere;
}

static bool nft_is_socket(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_NETLINK &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == NETLINK_NETFILTER && !nft_is_elsewhere(fd);
}

static int nft_socket(struct nft *nft, int fd)
{
	if (fd >= 0) {
		if (!nft_is_socket(fd))
			return -EINVAL;
		nft->sock = mnl_socket_fdopen(fd);
		return nft->sock ? 0 : -errno;
	}
	nft->sock = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (nft->sock && mnl_socket_bind(nft->sock, 0, MNL_SOCKET_AUTOPID) == 0)
		return 0;
	return -errno;
}

static void nft_set_options(struct nft *nft)
{
	const struct timeval tv = { .tv_sec = NFT_ANSWER_S };
	int fd = mnl_socket_get_fd(nft->sock), on = 1,
	    bytes = (int)(2 * NFT_BATCH_BYTES);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	/* an error does not carry all of what was wrong with it */
	(void)mnl_socket_setsockopt(nft->sock, NETLINK_CAP_ACK, &on,
				    sizeof(on));
}

int nft_open(struct nft **ret_nft, int fd)
{
	struct nft *nft = calloc(1, sizeof(*nft));
	int rc;

	if (!nft)
		return -ENOMEM;
	rc = nft_socket(nft, fd);
	if (rc < 0) {
		if (nft->sock && fd < 0)
			mnl_socket_close(nft->sock);
		free(nft);
		return rc;
	}
	nft_set_options(nft);
	nft->port = mnl_socket_get_portid(nft->sock);
	nft->seq = (uint32_t)time(NULL);
	*ret_nft = nft;
	return 0;
}

void nft_close(struct nft *nft)
{
	if (!nft)
		return;
	mnl_socket_close(nft->sock);
	free(nft);
}

int nft_fd(const struct nft *nft)
{
	return mnl_socket_get_fd(nft->sock);
}

/* Answers to what an earlier process, or an earlier request, asked. */
static void nft_drain(struct nft *nft)
{
	while (recv(nft_fd(nft), nft->reply, sizeof(nft->reply), MSG_DONTWAIT) >
	       0)
		;
}

static ssize_t nft_receive(struct nft *nft)
{
	ssize_t n;

	do
		n = mnl_socket_recvfrom(nft->sock, nft->reply,
					sizeof(nft->reply));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return n;
}

/* --- what is there ----------------------------------------------------- */

/* The comment is in libnftnl's form: type, length, text with its NUL. */
static bool nft_is_comment(const struct nlattr *attr, const char *comment)
{
	const uint8_t *udata = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr), n = strlen(comment) + 1;

	return len == 2 + n && udata[0] == 0 && udata[1] == n &&
	       memcmp(udata + 2, comment, n) == 0;
}

static int nft_on_table_attr(const struct nlattr *attr, void *arg)
{
	struct nft_tables *tables = arg;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_TABLE_NAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 &&
		    mnl_attr_get_payload_len(attr) <= NFT_NAME_MAX)
			strcpy(tables->now.name, mnl_attr_get_str(attr));
		break;
	case NFTA_TABLE_USERDATA:
		tables->ours = nft_is_comment(attr, tables->comment);
		break;
	}
	return MNL_CB_OK;
}

static int nft_on_table(const struct nlmsghdr *nlh, void *arg)
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	struct nft_tables *tables = arg;

	tables->now = (struct nft_table){ .family = nfg->nfgen_family };
	tables->ours = false;
	(void)mnl_attr_parse(nlh, sizeof(*nfg), nft_on_table_attr, tables);
	if (tables->ours && tables->now.name[0] && tables->n < NFT_FOUND_MAX)
		tables->found[tables->n++] = tables->now;
	return MNL_CB_OK;
}

static int nft_find_tables(struct nft *nft, struct nft_tables *tables)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nft->reply);
	struct nfgenmsg *nfg;
	ssize_t n;
	int rc;

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = ++nft->seq;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	if (mnl_socket_sendto(nft->sock, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		n = nft_receive(nft);
		if (n < 0)
			return (int)n;
		rc = mnl_cb_run(nft->reply, (size_t)n, nft->seq, nft->port,
				nft_on_table, tables);
	} while (rc > MNL_CB_STOP);
	return rc < 0 ? -errno : 0;
}

/* --- what is to be there ------------------------------------------------ */

/*
 * The verdict on a batch: the first error, or the acknowledgement of the last
 * message, seq. Errors have the numbers of what they are about.
 */
static int nft_await(struct nft *nft, uint32_t seq)
{
	for (;;) {
		ssize_t n = nft_receive(nft);
		const struct nlmsghdr *nlh = (const void *)nft->reply;
		int left = (int)n;

		if (n < 0)
			return (int)n;
		for (; mnl_nlmsg_ok(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type != NLMSG_ERROR ||
			    mnl_nlmsg_get_payload_len(nlh) < sizeof(*err))
				continue;
			if (err->error || nlh->nlmsg_seq == seq)
				return err->error;
		}
	}
}

int nft_replace(struct nft *nft, const struct nft_rules *rules, bool ways,
		bool guard)
{
	struct nft_tables tables = { .comment = rules->comment };
	struct nft_batch b = { .buf = nft->batch };
	int rc;

	nft_drain(nft);
	rc = nft_find_tables(nft, &tables);
	if (rc < 0 || (tables.n == 0 && !ways && !guard))
		return rc;
	nft_batch_begin(&b, nft->seq + 1);
	for (uint32_t i = 0; i < tables.n; i++)
		nft_put_table_gone(&b, tables.found[i].family,
				   tables.found[i].name);
	if (ways)
		nft_put_ways(&b, rules);
	if (guard)
		nft_put_guard(&b, rules);
	nft_batch_end(&b);
	if (b.full)
		return -EMSGSIZE;
	nft->seq = b.seq + 1;
	if (mnl_socket_sendto(nft->sock, b.buf, b.bytes) < 0)
		return -errno;
	return nft_await(nft, b.seq);
}

int nft_count(struct nft *nft, const char *comment)
{
	struct nft_tables tables = { .comment = comment };
	int rc;

	nft_drain(nft);
	rc = nft_find_tables(nft, &tables);
	return rc < 0 ? rc : (int)tables.n;
}
