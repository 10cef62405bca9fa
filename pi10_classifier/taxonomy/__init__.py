"""Taxa with AphiaID: a frozen extract of WoRMS, and the class that each of them falls into."""
