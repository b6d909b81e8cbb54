# Bugs that people really make, planted one at a time (tests/sim/planted/*.patch): the simulation has to find each of them, by the
# invariant that the patch names. Each is put into a copy of the commit under target/planted, where the simulation alone is built
# and run, with more seeds if few do not find it, and is taken away again. Without any of them it has to pass.
# Takes about 15 minutes on two cores. SCALE=4 tries every fourth of them.
# shellcheck shell=bash

# Nothing of it is a measurement of the programs.
RESULTS=tests/results
BUILT=1
readonly PLANTED_TREE=target/planted/tree PLANTED_SEEDS=(40 200)

campaign() {
    local patch number=0
    plant_tree
    printf '\nSeeds of each mix: %s. Times are from the start of a story.\n' "${PLANTED_SEEDS[*]}" >>"$folder/run.md"
    if simulate sound "${PLANTED_SEEDS[0]}"; then
        say "sound: passes"
    else
        failures+=("the simulation fails without any bug: sound.txt")
        return
    fi
    printf '\n| planted | what | breaks | found by: mix and seed | as |\n|---|---|---|---|---|\n' >>"$folder/run.md"
    for patch in "$PLANTED_TREE"/tests/sim/planted/*.patch; do
        if ((number++ % SCALE == 0)); then plant "$patch"; fi
    done
}

# The commit as it is, beside the sources that are worked on.
plant_tree() {
    rm -rf "$PLANTED_TREE"
    mkdir -p "$PLANTED_TREE"
    git archive HEAD | tar -x -C "$PLANTED_TREE"
}

# git, for once without the repository around it.
planted_apply() {
    GIT_CEILING_DIRECTORIES=$(realpath "$PLANTED_TREE/..") git -C "$PLANTED_TREE" apply "$@"
}

# simulate NAME SEEDS: builds and runs the simulation of the copy; what it says is in NAME.txt.
simulate() {
    local command=(cargo test --release --workspace --locked --manifest-path "$PLANTED_TREE/Cargo.toml" --test sim)
    SIM_SEEDS=$2 RUST_BACKTRACE=0 CARGO_TERM_COLOR=never CARGO_TARGET_DIR=$PWD/target "${command[@]}" >"$folder/$1.txt" 2>&1
}

# One bug: it applies, it builds, and the simulation fails by the invariant that it is to break.
plant() {
    local patch name what invariant seeds found=""
    patch=$(realpath "$1")
    name=$(basename "$patch" .patch)
    what=$(head -1 "$patch")
    invariant=$(sed -n 's/^Breaks: //p' "$patch")
    if ! planted_apply "$patch"; then
        failures+=("$name does not apply")
        return
    fi
    for seeds in "${PLANTED_SEEDS[@]}"; do
        if simulate "$name" "$seeds"; then continue; fi
        if ! grep -q '^running ' "$folder/$name.txt"; then
            failures+=("$name does not build")
            break
        fi
        found=$(finding "$invariant" "$folder/$name.txt")
        if [[ -n $found ]]; then break; fi
    done
    planted_apply -R "$patch"
    if [[ -z $found ]]; then
        failures+=("$name was not found as $invariant")
        found="— | **not found**"
    fi
    printf '| `%s` | %s | %s | %s |\n' "$name" "$what" "$invariant" "$found" >>"$folder/run.md"
    say "$name: $found"
    # What was found is in the table; whole stories are for those that were not.
    if [[ $found != "—"* ]]; then rm "$folder/$name.txt"; fi
}

# "mix seed | what it says" of the first story that broke the invariant.
finding() {
    awk -v invariant="$1" '
        match($0, /seed [0-9]+ \([A-Za-z]+\)/) {
            split(substr($0, RSTART, RLENGTH), part, " ")
            story = substr(part[3], 2, length(part[3]) - 2) " " part[2]
        }
        match($0, "\"" invariant " at ") || (invariant == "I6" && /I6: a room panicked/) {
            text = $0
            sub(/^ *"/, "", text)
            sub(/",$/, "", text)
            gsub(/\|/, "/", text)
            print story " | " substr(text, 1, 160)
            exit
        }' "$2"
}
