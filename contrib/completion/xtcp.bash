# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# bash(1) completion for xtcpctl, xtcpd, xtcp-swarm and xtcp-echod. Installed
# under each of these names in bash-completion's folder; or source it.
#
# tests/net/test_completion.py holds it against the programs' --help.

# _xtcp_words WORD...: those that begin with what is being completed.
_xtcp_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

_xtcp_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# _xtcp_ask COMMAND...: the first column of xtcpctl's table, without its heading.
_xtcp_ask()
{
	"${COMP_WORDS[0]}" "${_xtcp_socket[@]}" "$@" 2>/dev/null |
		awk 'NR > 1 { print $1 }'
}

# Takes -s SOCKET and the command's words out of the line, up to the cursor.
_xtcp_parse_xtcpctl()
{
	local i word

	_xtcp_socket=()
	_xtcp_command=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-s | --socket)
			((i + 1 < COMP_CWORD)) || break
			# top and capture have a -s of their own
			if [[ ${#_xtcp_command[@]} -eq 0 ]]; then
				_xtcp_socket=(-s "${COMP_WORDS[i + 1]}")
			fi
			i=$((i + 1))
			;;
		--socket=*)
			_xtcp_socket=(-s "${word#*=}")
			;;
		--group | --state | --limit)
			i=$((i + 1))
			;;
		-*) ;;
		*)
			_xtcp_command+=("$word")
			;;
		esac
	done
}

_xtcp_option_value()
{
	case ${_xtcp_command[0]-},$prev in
	top,--sort)
		_xtcp_words name connections messages bytes latency waiting
		;;
	capture,-w | capture,--write)
		_xtcp_files
		;;
	top,-d | top,--delay | top,-n | top,--iterations) ;;
	capture,-c | capture,--count | capture,-s | capture,--snaplen) ;;
	capture,-t | capture,--time) ;;
	*,-s | *,--socket)
		_xtcp_files
		;;
	show,--group)
		_xtcp_words "$(_xtcp_ask show groups)"
		;;
	show,--state)
		_xtcp_words SYN-HELD SYN-RECEIVED ESTABLISHED FIN-WAIT-1 \
			FIN-WAIT-2 CLOSE-WAIT CLOSING LAST-ACK TIME-WAIT GONE
		;;
	show,--limit) ;;
	*)
		return 1
		;;
	esac
	return 0
}

_xtcp_options()
{
	case ${_xtcp_command[*]} in
	top*)
		_xtcp_words -d --delay -n --iterations -b --batch --sort
		;;
	capture*)
		_xtcp_words -w --write -c --count -s --snaplen -t --time
		;;
	"show connections")
		_xtcp_words --group --state --limit -s --socket --json
		;;
	*)
		_xtcp_words -s --socket --json -V --version -h --help
		;;
	esac
}

_xtcpctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local -a _xtcp_socket _xtcp_command

	COMPREPLY=()
	_xtcp_parse_xtcpctl
	! _xtcp_option_value || return 0
	if [[ $cur == -* ]]; then
		_xtcp_options
		return 0
	fi
	case ${_xtcp_command[*]} in
	"")
		_xtcp_words show close drain vacate resume reload capture top
		;;
	show)
		_xtcp_words info pools groups backends workers memory counters \
			connections connection
		;;
	drain)
		_xtcp_words backend group
		;;
	vacate | resume)
		_xtcp_words backend
		;;
	"show connection" | close)
		_xtcp_words "$(_xtcp_ask show connections --limit 1000)"
		;;
	"drain backend" | "vacate backend" | "resume backend")
		_xtcp_words "$(_xtcp_ask show backends)"
		;;
	"drain group")
		_xtcp_words "$(_xtcp_ask show groups)"
		;;
	"show connections")
		_xtcp_options
		;;
	capture*)
		_xtcp_words host net port portrange src dst tcp udp icmp ip ip6 \
			and or not
		;;
	esac
}

_xtcpd()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $prev in
	-c | --config | --pcap)
		_xtcp_files
		;;
	*)
		_xtcp_words -c --config -f --foreground -t --test -v --verbose \
			--pcap --supervise -V --version -h --help
		;;
	esac
}

_xtcp_echod()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $prev in
	-a | --ack)
		_xtcp_words full half none
		;;
	-l | --listen)
		compopt -o nospace 2>/dev/null
		_xtcp_words unix: tcp:
		;;
	-g | --group | -p | --port | -d | --delay) ;;
	*)
		_xtcp_words -g --group -p --port -l --listen -a --ack -d --delay \
			-u --uppercase -h --help -V --version
		;;
	esac
}

_xtcp_swarm()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $prev in
	--end)
		_xtcp_words fin reset vanish
		;;
	--json)
		_xtcp_files
		;;
	--connect | --connections | --connect-rate | --hold | --rate) ;;
	--outstanding | --request | --reply | --duration | --grace | --churn) ;;
	--syn-flood | --sources | --flood-sources | --device | --mtu | --rto) ;;
	--tries | --ack-delay | --tick | --seed | --watch) ;;
	*)
		_xtcp_words --connect --connections --connect-rate --hold --rate \
			--outstanding --request --reply --duration --grace --churn \
			--syn-flood --end --vanish --sources --flood-sources --device \
			--mtu --rto --tries --ack-delay --tick --direct \
			--no-timestamps --no-offload --verify --no-verify \
			--set-forwarding --seed --watch --json --progress \
			-h --help -V --version
		;;
	esac
}

complete -F _xtcpctl xtcpctl
complete -F _xtcpd xtcpd
complete -F _xtcp_swarm xtcp-swarm
complete -F _xtcp_echod xtcp-echod
