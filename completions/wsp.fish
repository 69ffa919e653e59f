# Completions of wsp for fish: wsp itself is asked what fits.
function __wsp_candidates
    set -l words (commandline -opc)
    $words[1] generate candidates -- $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c wsp -f -a '(__wsp_candidates)'
