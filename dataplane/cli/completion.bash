# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Completion for millrace, millraced and millrace-steer. All words come from the programs' own --help.

_millrace_words() {
    # Commands stand under "Subcommands:", options begin with "-", and what a word may be is in braces.
    "$@" --help 2>/dev/null </dev/null | sed -n \
        -e '/^Subcommands:/,/^$/s/^  \([a-z-]\{1,\}\) .*/\1/p' \
        -e 's/^  WHAT [^{]*{\([^}]*\)}.*/\1/p' \
        -e 's/^  \(-[a-z],\)\{0,1\}\(--[a-z-]*\).*/\2/p' | tr ',' '\n'
}

# _millrace_values OPTION COMMAND...: "--family TEXT:{ipv4,ipv6}".
_millrace_values() {
    "${@:2}" --help 2>/dev/null </dev/null | sed -n "s/^  $1 [^ ]*{\([^}]*\)}.*/\1/p" | tr ',' '\n'
}

_millrace_ports() {
    local link
    for link in /sys/class/net/*; do
        printf '%s\n' "${link##*/}"
    done
}

_millrace() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=("${COMP_WORDS[0]}")
    COMPREPLY=()
    case $previous in
    --config | --socket | --pin-root)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --via)
        mapfile -t COMPREPLY < <(compgen -W "$(_millrace_ports)" -- "$current")
        return
        ;;
    in)
        mapfile -t COMPREPLY < <(compgen -W "$(_millrace_ports)" -- "$current")
        return
        ;;
    esac
    if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} =~ ^[a-z]+$ ]]; then
        command+=("${COMP_WORDS[1]}")
    fi
    local words
    if [[ $previous == --* ]]; then
        words=$(_millrace_values "$previous" "${command[@]}")
        if [[ $words ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
            return
        fi
    fi
    words=$(_millrace_words "${command[@]}")
    case ${command[1]-} in
    attach | detach | status | drain | undrain) words+=$'\n'$(_millrace_ports) ;;
    explain) words+=$'\nin\nfrom\nto\nudp\ntcp\nicmp\nlength' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _millrace millrace millraced millrace-steer
