# Completions of wsp for bash: wsp itself is asked what fits.
_wsp() {
    local words=() piece rest=${COMP_LINE:0:COMP_POINT} index last=0 value current
    # bash cuts words at : = and @ as well. Here they are whole again, as far as the cursor.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        piece=${COMP_WORDS[index]}
        if ((index == 0)) || [[ $rest == [[:space:]]* || -z $rest ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            last=${#words[@]}
            words+=("")
        fi
        if ((index == COMP_CWORD)); then
            piece=$rest
        fi
        words[last]+=$piece
        rest=${rest#"$piece"}
    done
    current=${words[last]}
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        # What stands before the part that bash completes is there already.
        if [[ $current == *[:=@]* ]]; then
            value=${value#"${current%"${current##*[:=@]}"}"}
        fi
        if [[ $value == *[[:space:]\'\"\\\$]* ]]; then
            printf -v value %q "$value"
        fi
        COMPREPLY+=("$value")
    done < <("$1" generate candidates -- "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _wsp wsp
